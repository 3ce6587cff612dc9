"""Redaction on samples of both kinds: what must be hidden is, what is harmless stays as it is."""

from __future__ import annotations

import json

import pytest

from pipespan.model.redact import Redactor
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.redact_values import MARKER
from tests.unit.model.redact_corpus import HARMLESS, SECRETS

REDACTOR = Redactor(RedactSpec())


def test_the_corpus_has_enough_of_both_kinds() -> None:
    """At least 150 samples of each kind, no two the same."""
    assert len({text for text, _ in SECRETS}) >= 150
    assert len(set(HARMLESS)) >= 150


@pytest.mark.parametrize(("text", "secret"), SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_hidden(text: str, secret: str) -> None:
    """Nothing of the secret is left, the marker stands in its place, and looking again changes nothing."""
    shown = REDACTOR.text(text)
    assert MARKER in shown
    rest, around = shown.replace(MARKER, " "), text.replace(secret, " ")
    for part in (secret, *(secret[start : start + 5] for start in range(len(secret) - 4))):
        assert part not in rest or part in around
    assert REDACTOR.text(shown) == shown


@pytest.mark.parametrize(("text", "secret"), SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_hidden_inside_of_json(text: str, secret: str) -> None:
    """Also in a text that is a value in JSON, and in JSON that is a text."""
    assert secret not in json.dumps(REDACTOR.value({"note": [text]}), ensure_ascii=False)
    inner = json.dumps({"note": text}, ensure_ascii=False)
    assert secret not in REDACTOR.text(inner) or json.dumps(secret, ensure_ascii=False)[1:-1] != secret


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_a_harmless_text_stays(text: str) -> None:
    """The very same object comes back."""
    assert REDACTOR.text(text) is text
