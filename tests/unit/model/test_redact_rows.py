# ruff: noqa: E501 - tables of samples
"""The gate of rows: a secret survives in no column of any row type, and harmless rows pass as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.redact import Redactor
from pipespan.model.redact_rows import MAX_HARMLESS, RowGate
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.redact_values import MARKER
from pipespan.model.rows import EventRow, JobRow, LogRow, Row
from pipespan.store.copytext import PreparedJson, encode_row
from tests.fixtures import rows
from tests.unit.model.redact_corpus import HARMLESS, SECRETS, TOKENS

KNOWN = 'Kn0wn"Pa/ss%9'
REDACTOR = Redactor(RedactSpec(), [KNOWN])


class Odd:
    """An object whose `repr` shows what it should not."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Odd(api_key={self.text!r})"


def planted(text: str) -> list[Row]:
    """Return rows of all types with `text` in each column that holds text."""
    values: dict[str, Any] = {
        "plain": text,
        "deep": [{"a": (text, 5)}],
        text: 1,
        "password": text,
        "set": {text},
        "odd": Odd(text),
        "bytes": text.encode(),
    }
    return [
        rows.experiment(
            name=text, params=values, tags=(text, "b"), command=f"run --x {text}", user_name=text
        ),
        rows.job("j", cause=text, evidence=values, command=text, log_messages=(f"INFO {text}",)),
        rows.node(f"a/{text}", f"p/{text}", unit=text, message=text, metadata=values),
        rows.log(text),
        rows.log("m", context=values, traceback=f"Traceback\nValueError: {text}", performance=values),
        rows.log("m", context=PreparedJson({"code.file.path": text}), logger_name=text, error_type=text),
        rows.log("m", context={"code.file.path": text, "thread.name": text}),
        rows.event(text, event_type=text, details=values, source=text),
        rows.metric(custom_metrics={"loss": 0.1, text: 0.5, "x": text}),
    ]


@pytest.mark.parametrize("secret", [KNOWN, *TOKENS[:12]])
def test_a_secret_survives_in_no_column(secret: str) -> None:
    """What goes into the spool holds the secret in no form that JSON or COPY may give it."""
    gate = RowGate(REDACTOR)
    for row in planted(secret):
        line = encode_row(gate.row(row)).decode()
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret)[1:-1].replace("\\", "\\\\")):
            assert form not in line, type(row).__name__
        assert MARKER in line
    assert gate.hidden_count == len(planted(secret))


@given(st.lists(st.sampled_from(SECRETS), min_size=1, max_size=5))
def test_secrets_survive_in_no_order(samples: list[tuple[str, str]]) -> None:
    """What a gate remembers as harmless never lets a secret pass."""
    gate = RowGate(REDACTOR)
    for text, secret in [*samples, *samples]:
        for row in (rows.log(text, logger_name=text), rows.event("e", details={"note": text, "n": 1})):
            assert secret not in encode_row(gate.row(row)).decode()


@given(st.sampled_from(HARMLESS), st.floats(allow_nan=False))
def test_harmless_rows_pass_as_they_are(text: str, value: float) -> None:
    """The very same row comes back, and a row that has passed early is not looked at again."""
    gate = RowGate(REDACTOR)
    for row in (
        rows.log(text, context={"thread.name": "worker-1", "note": text, "n": value}),
        rows.metric(custom_metrics={"loss": value}),
        rows.event(text, details={"tokens": 5, "note": [text]}),
        rows.node("a/b", "a", message=text),
    ):
        assert gate.row(row) is row
    early = gate.early(rows.log(text))
    assert gate.row(early) is early


def test_ids_are_never_touched() -> None:
    """Ids stay, even where one of them is known as a secret."""
    gate = RowGate(Redactor(RedactSpec(values=(rows.EXPERIMENT_ID, "4bf92f3577b34da6a3ce929d0e0e4736"))))
    row = rows.log(f"at {rows.EXPERIMENT_ID}", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    shown = gate.row(row)
    assert isinstance(shown, LogRow)
    assert (shown.experiment_id, shown.trace_id, shown.message) == (
        row.experiment_id,
        row.trace_id,
        f"at {MARKER}",
    )


def test_what_is_remembered_is_bounded() -> None:
    """A program that makes names up does not fill the memory."""
    gate = RowGate(REDACTOR)
    for number in range(MAX_HARMLESS * 2):
        gate.row(rows.log("m", logger_name=f"name {number}"))
    assert len(vars(gate)["_harmless"]) <= MAX_HARMLESS + 2


def test_numbers_under_telling_names_are_hidden_and_counts_are_not() -> None:
    """A PIN under a telling name is a secret, a count of tokens is none."""
    gate = RowGate(REDACTOR)
    shown = gate.row(
        rows.event(details={"password": 12345678, "tokens": 12345678, "max_token": 4096, "secret": None})
    )
    assert isinstance(shown, EventRow)
    assert dict(shown.details) == {"password": MARKER, "tokens": 12345678, "max_token": 4096, "secret": None}


def test_an_option_of_a_command_hides_the_word_behind_it() -> None:
    """In a command line a plain word behind `--password` is the password."""
    gate = RowGate(REDACTOR)
    shown = gate.row(rows.job("j", command="train.py --password swordfish --epochs 5 --token-file x"))
    assert isinstance(shown, JobRow)
    assert shown.command == f"train.py --password {MARKER} --epochs 5 --token-file x"
