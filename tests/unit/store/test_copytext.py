"""Rows as COPY lines and back, without a server."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.attributes import plain_text
from pipespan.model.rows import ROW_TYPES, LogRow, MetricRow, NodeRow, columns
from pipespan.store.copytext import decode_line, encode_row
from tests.fixtures.rows import event, experiment, job, log, metric, node

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
JSON = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
STORABLE = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
STORABLE_JSON = JSON.filter(lambda value: "\\u0000" not in json.dumps(value))
TIMES = st.integers(-(62_135_596_800 * 10**6), 253_402_300_800 * 10**6 - 1).map(lambda moment: moment * 1000)


@pytest.mark.parametrize(
    "row", [experiment(), job("j"), node("n"), log(), event(), metric()], ids=lambda row: type(row).__name__
)
def test_a_row_of_each_kind_survives(row: Any) -> None:
    """Encoding and decoding give the row back, its times cut to microseconds."""
    found = decode_line(type(row), encode_row(row))
    for name in columns(type(row)):
        value = getattr(row, name)
        exact = value // 1000 * 1000 if isinstance(value, int) and value > 10**18 else value
        assert getattr(found, name) == exact, name


@given(
    message=STORABLE,
    traceback=st.none() | STORABLE,
    timestamp=TIMES,
    context=st.none() | STORABLE_JSON,
    severity_number=st.integers(),
)
def test_storable_values_survive_unchanged(**values: Any) -> None:
    """What Postgres can hold is not altered at all."""
    found = decode_line(LogRow, encode_row(log(**values)))
    assert {name: getattr(found, name) for name in values} == values


@given(text=ANY_TEXT)
def test_any_text_is_one_line_of_utf8(text: str) -> None:
    """Whatever it holds, a row is one line with all its columns, and reads back as readable text."""
    line = encode_row(log(text, node_id=text))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\x00" not in line
    assert b"\r" not in line
    assert line.count(b"\t") == len(columns(LogRow)) - 1
    found = decode_line(LogRow, line)
    assert found.message == found.node_id == plain_text(text)


@given(text=ANY_TEXT)
def test_text_never_looks_like_null_or_the_end(text: str) -> None:
    r"""`\N` and `\.` written by a user are text."""
    for message in (text, "\\N", "\\.", text + "\\"):
        assert decode_line(LogRow, encode_row(log(message))).message == plain_text(message)


@given(tags=st.lists(STORABLE, max_size=5))
def test_lists_of_text_survive(tags: list[str]) -> None:
    """Quotes, commas, braces and backslashes are escaped twice over and come back."""
    row = experiment(tags=tags)
    assert list(decode_line(type(row), encode_row(row)).tags) == tags


@given(value=st.floats())
def test_floats_survive(value: float) -> None:
    """Each float comes back to the bit, infinities and NaN too."""
    found = decode_line(MetricRow, encode_row(metric(memory_mb=value))).memory_mb
    assert found is not None
    assert found == value or math.isnan(found) == math.isnan(value) is True


@given(units=st.none() | st.integers())
def test_numbers_survive(units: int | None) -> None:
    """Null stays null; what is too large for a column is for the server to refuse."""
    assert decode_line(NodeRow, encode_row(node("n", total_units=units))).total_units == units


@given(unix_ns=st.integers())
def test_any_time_gives_a_line(unix_ns: int) -> None:
    """A clock that is centuries off is clamped to the years that readers know."""
    found = decode_line(LogRow, encode_row(log(timestamp=unix_ns))).timestamp
    assert -(62_135_596_800 * 10**9) <= found < 253_402_300_800 * 10**9


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.__name__)
@pytest.mark.parametrize("line", [b"", b"\n", b"a\tb\n", b"\xff\n"])
def test_what_is_no_line_is_refused(row_type: Any, line: bytes) -> None:
    """Too few columns and broken UTF-8 are a ValueError, never a row."""
    with pytest.raises(ValueError, match=r"."):
        decode_line(row_type, line)
