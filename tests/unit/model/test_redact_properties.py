# ruff: noqa: E501 - tables of samples
"""Redaction on generated texts: planted secrets never survive, harmless texts do, in any form and of any size."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipespan.errors import SettingsError
from pipespan.model.redact import Redactor
from pipespan.model.redact_known import known_secrets
from pipespan.model.redact_scan import STANDARD_ANCHORS, anchors_of, standard_needles
from pipespan.model.redact_spec import RedactSpec, parse_spec
from pipespan.model.redact_values import MARKER
from tests.unit.model.redact_corpus import ALNUM, TOKENS

KNOWN = "Kn0wn/Pa'ss wörd+=%9"
REDACTOR = Redactor(RedactSpec(), [KNOWN])

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=200)
WORDS = st.lists(
    st.text(alphabet="abdfghilmnoruvyABDEFGHILMNORTUVY .,()", max_size=12) | st.integers().map(str),
    max_size=20,
).map(" ".join)
GAPS = st.sampled_from([" ", "\n", "\t", "=", ": ", '"', "'", "(", ",", ";", "/"])
PIECES = st.lists(
    st.sampled_from(
        [
            "password", "token", "=", ":", " ", '"', "'", "\\", "://", "@", "a", "Z9", "key", "--", "bearer ",
            "[redacted]", ",", "{", "}", "%41", "\\u0041", "-----BEGIN PRIVATE KEY-----", "-----END ", "eyJ", ".",
            "secret", "<", ">", "/", "\n", "basic ", "xxxxxxxxxxxx1A", "postgres://", "?", "#", "@tcp(", "curl ", "-u ",
            "&code=", "identified by ", "%3A%2F%2F", "\\/\\/",
        ]
    ),
    max_size=30,
)  # fmt: skip
"""What rules look at."""

SECRET_WORDS = st.text(alphabet=ALNUM, min_size=8, max_size=60).map(lambda text: f"{text}a1B")

FORMS = [
    lambda text: text,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    lambda text: json.dumps(json.dumps(text))[1:-1],
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: repr(text)[1:-1],
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    lambda text: base64.b64encode(text.encode()).decode(),
]


@given(ANY_TEXT)
def test_redaction_never_raises_and_is_idempotent(text: str) -> None:
    """Whatever the text is, a second look changes nothing."""
    shown = REDACTOR.text(text)
    assert REDACTOR.text(shown) == shown


@given(PIECES.map("".join))
@settings(max_examples=500)
def test_redaction_is_idempotent_on_what_rules_look_at(text: str) -> None:
    """Also on texts made of the pieces that rules know."""
    shown = REDACTOR.text(text)
    assert REDACTOR.text(shown) == shown


ADDRESSES = st.builds(
    "{}{}:{}@{}".format,
    st.sampled_from(["postgres://", "https://", "://", ":\\/\\/", ""]),
    st.sampled_from(["", "u", "a://b"]),
    st.text("aZ9:/?#@&%'", max_size=6),
    st.sampled_from(["h", "tcp(h:1)/d", "unix(/s)/d"]),
)


@given(st.lists(PIECES.map("".join) | st.sampled_from(TOKENS) | ADDRESSES, max_size=4).map("".join))
@settings(max_examples=1000)
def test_the_quick_look_misses_nothing(text: str) -> None:
    """Whatever a rule finds, the one pattern that looks at every text has seen."""
    assert REDACTOR.look(text) is not None or REDACTOR.spans(text) == []


def test_the_letters_to_look_for_are_the_rarest() -> None:
    """Those that are written down are those that would be chosen."""
    assert anchors_of(standard_needles(), frozenset()) == STANDARD_ANCHORS


@given(st.text("aeo\nstK", min_size=8, max_size=20).filter(lambda text: not text.isspace()), WORDS)
def test_a_known_value_is_seen_whatever_it_is_made_of(value: str, words: str) -> None:
    """Of common letters only, or of several lines."""
    redactor = Redactor(RedactSpec(), [value])
    assert value not in redactor.text(f"{words} {value}")


@pytest.mark.parametrize(
    "text", ["demo/parse/chunk 1@09cc08", "by@example.org", "git@host:a/b.git", "https://h:1/a b@c"]
)
def test_the_quick_look_passes_by_what_no_address_has(text: str) -> None:
    """An `@` is in the ids of all nodes that other processes add: each of their rows would be looked at closely."""
    assert REDACTOR.look(text) is None


@given(WORDS)
def test_words_and_numbers_are_left_alone(text: str) -> None:
    """Texts of words that name nothing secret come back as the same object."""
    assert REDACTOR.text(text) is text


@given(ANY_TEXT, GAPS, st.sampled_from(TOKENS), GAPS, ANY_TEXT)
def test_a_planted_token_is_hidden(before: str, gap: str, token: str, other: str, after: str) -> None:
    """A token of a known shape is hidden between any texts."""
    assert token not in REDACTOR.text(f"{before}{gap}{token}{other}{after}")


@given(ANY_TEXT, st.sampled_from(FORMS), ANY_TEXT)
def test_a_known_value_is_hidden_in_all_its_forms(before: str, form, after: str) -> None:  # type: ignore[no-untyped-def]
    """A value that is known to be secret is hidden wherever it stands, encoded or not, without any gap."""
    planted = form(KNOWN)
    shown = REDACTOR.text(f"{before}{planted}{after}")
    assert planted not in shown
    assert "Kn0wn" not in shown


@given(WORDS, SECRET_WORDS, WORDS)
def test_the_value_of_a_telling_name_is_hidden(before: str, secret: str, after: str) -> None:
    """`password=` hides what follows, whatever stands around it, in text and as a value."""
    assert secret not in REDACTOR.text(f"{before} password={secret} {after}")
    assert secret not in json.dumps(REDACTOR.value({before: {"apiKey": secret}, "n": [f"--token={secret}"]}))


@given(st.sampled_from(TOKENS), st.integers(min_value=10, max_value=60))
def test_a_token_that_was_cut_is_hidden(token: str, kept: int) -> None:
    """What is left of a token that was cut is hidden where it is long enough to tell it."""
    # Those of one dot, and those that are told by their full length alone, need more of them.
    short = token[: max(kept, 30)]
    if not short.startswith(("eyJ", "SG.", "dapi", "npm_", "hf_")):
        assert REDACTOR.text(f"x {short}") == f"x {MARKER}"


@pytest.mark.parametrize(
    "piece",
    [
        "password=",
        "://",
        "://a:",
        "postgres://a:b/",
        "token='",
        'token=\\"',
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "eyJa.",
        "key: [",
        "%41",
        "\\u0041",
        "bearer ",
        "a" * 20 + "=",
        "basic QUFB ",
        "@",
        "&sig=",
        "Cookie: a=b;",
        "ghp_",
        "secret,",
        "-----END ",
        "<password>",
        "--password ",
        "token=['",
        "curl -u ",
        "SG.aaaaaaaaaaaaaaaaaaaaaaa",
        "password:\\",
        "('token', '",
        "api key",
        "_",
        "password=a,",
        "sk-",
        ":",
        "\\/",
        "?code=",
        "12345678:AA",
        "x-api-key",
        "bearer=",
        "a:a@tcp(",
    ],
)
def test_time_grows_with_the_size(piece: str) -> None:
    """A text made to be slow costs time in proportion to its size, up to a megabyte."""

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        started = time.thread_time()
        REDACTOR.text(text)
        return time.thread_time() - started

    small = min(seconds(25_000) for _ in range(3))
    assert seconds(200_000) < 8 * 3 * small + 0.3


def test_a_megabyte_takes_seconds_at_most() -> None:
    """The slowest of the pieces, for a whole megabyte, which is the longest text that is recorded."""
    text = "token='" * 150_000
    started = time.thread_time()
    REDACTOR.text(text)
    assert time.thread_time() - started < 15


def test_the_environment_tells_what_is_secret() -> None:
    """Passwords in addresses and values of telling variables are known, trivial and public ones are not."""
    environ = {
        "DB_PASSWORD": "sw0rdfish",
        "DATABASE_URL": "postgres://u:p4ss%2Fword@h/d",
        "GITHUB_TOKEN": "abcDEF123456789",
        "SORT_KEY": "customer_name",
        "ADMIN_PASSWORD": "postgres",
        "SSH_KEY": "/home/bob/.ssh/id",
        "PWD": "/work/a1B2c3",
        "PUBLIC_KEY": "abcDEF123456",
        "USER": "bob12345",
        "BOB_PASSWORD": "bob12345",
        "PIN_TOKEN": "1234567",
        "HOME": "/root",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20QWxhZGRpbjpvcGVu,x-team=red",
        "MY_SECRET": "true",
    }
    found = set(known_secrets(environ, ["host=h password=c0nninfo", None]))
    assert found == {
        "sw0rdfish",
        "p4ss%2Fword",
        "p4ss/word",
        "abcDEF123456789",
        "QWxhZGRpbjpvcGVu",
        "c0nninfo",
    }


def test_the_setting_adds_values_patterns_and_names() -> None:
    """Items of the setting hide more, and `keep` hides less."""
    redactor = Redactor(parse_spec("key:pin; value:blue moon; regex:CARD-([0-9]+); keep:token_name"))
    assert redactor.text("pin=1234 at blue moon, CARD-123, token=aB3dEf9h") == (
        f"pin={MARKER} at {MARKER}, CARD-{MARKER}, token={MARKER}"
    )
    assert redactor.value({"token_name": "aB3dEf9h", "Pin": "12x4"}) == {
        "token_name": "aB3dEf9h",
        "Pin": MARKER,
    }


def test_redaction_can_be_turned_off() -> None:
    """`off` leaves everything as it is."""
    redactor = Redactor(parse_spec("off"))
    assert redactor.text("password=hunter2") == "password=hunter2"
    assert redactor.json({"password": "hunter2"}) == {"password": "hunter2"}


@pytest.mark.parametrize(
    "text", ["hunter2x", "regex:(", "regex:.*", "off; key:pin", "value:ab", "colour:hunter2x", "key:"]
)
def test_a_wrong_setting_is_told_without_showing_it(text: str) -> None:
    """The error names the item and not its value, which may be a secret."""
    with pytest.raises(SettingsError) as caught:
        parse_spec(text)
    assert "hunter2x" not in str(caught.value)
    assert "PIPESPAN_REDACT" in str(caught.value)
