"""Odd values on their whole way: row, line, COPY, table, record; readable rather than refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.attributes import json_text
from pipespan.model.records import LogRecord
from pipespan.store.base import LogFilter
from pipespan.store.copytext import decode_line, encode_row
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import fresh_database
from tests.fixtures.rows import (
    EXPERIMENT_ID,
    MOMENT_UNIX_NS,
    Shipper,
    event,
    experiment,
    job,
    log,
    metric,
    node,
)

CHECK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.binary(max_size=5)
    | st.complex_numbers()
    | st.sets(st.integers(), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(ANY_TEXT | st.integers() | st.tuples(st.integers()) | st.none(), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def odd_dsn(pg_admin_dsn: str, pg_template: str) -> Iterator[str]:
    with fresh_database(pg_admin_dsn, pg_template) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shipper(odd_dsn: str) -> Iterator[Shipper]:
    sink = PostgresSink(odd_dsn)
    yield Shipper(sink)
    sink.close()


@pytest.fixture(scope="module")
def source(odd_dsn: str) -> Iterator[PostgresSource]:
    opened = PostgresSource(odd_dsn)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def connection(odd_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(odd_dsn, autocommit=True) as opened:
        yield opened


def newest_log(source: PostgresSource) -> LogRecord:
    return max(source.logs(EXPERIMENT_ID, LogFilter(limit=10_000)), key=lambda found: found.id)


@given(text=ANY_TEXT)
@CHECK
def test_any_text_is_stored_as_the_line_says(shipper: Shipper, source: PostgresSource, text: str) -> None:
    """NUL, surrogates, tabs, backslashes and line ends come back; Postgres reads the line as our decoder does."""
    row = log(text, logger_name=text, traceback=text)
    shipper.ship(row)
    decoded = decode_line(type(row), encode_row(row))
    found = newest_log(source)
    assert (found.message, found.logger_name, found.traceback) == (
        decoded.message,
        decoded.logger_name,
        decoded.traceback,
    )
    if "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
        assert found.message == text


@given(texts=st.lists(ANY_TEXT, max_size=4))
@CHECK
def test_any_texts_are_stored_as_an_array(shipper: Shipper, source: PostgresSource, texts: list[str]) -> None:
    """Quotes, braces, commas and the word NULL stay what they are."""
    row = experiment(tags=texts, version=shipper.position + 1)
    shipper.ship(row)
    assert list(source.experiments(limit=1)[0].tags) == list(decode_line(type(row), encode_row(row)).tags)


@given(value=ANY_VALUE)
@CHECK
def test_any_value_is_taken_by_jsonb(connection: psycopg.Connection[Any], value: Any) -> None:
    """What json_text gives is JSON that the server accepts, whatever it was made of."""
    text = json_text({"value": value})
    (stored,) = connection.execute("select %s::jsonb::text", (text,)).fetchone() or ("",)
    # jsonb has decimal numbers and writes them out, so the same float may come back looking like an integer.
    assert json.loads(stored, parse_int=float) == json.loads(text, parse_int=float)


@given(value=st.floats())
@CHECK
def test_any_float_is_stored(shipper: Shipper, source: PostgresSource, value: float) -> None:
    """Also those that are no number, or smaller than any normal one."""
    shipper.ship(metric(cpu_percent=value, timestamp=MOMENT_UNIX_NS + shipper.position * 1000))
    (found,) = source.metrics(EXPERIMENT_ID, limit=1)
    assert found.cpu_percent == value or (found.cpu_percent is not None and math.isnan(found.cpu_percent))


@given(unix_ns=st.integers() | st.integers(-(62_135_596_800 * 10**9), 253_402_300_800 * 10**9 - 1))
@CHECK
def test_any_time_is_stored(shipper: Shipper, source: PostgresSource, unix_ns: int) -> None:
    """Times within the years 1 to 9999 are exact to the microsecond, those of a broken clock are clamped."""
    row = log(timestamp=unix_ns)
    shipper.ship(row)
    found = newest_log(source).timestamp
    since = found - datetime(1970, 1, 1, tzinfo=timezone.utc)
    microseconds = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
    assert microseconds * 1000 == decode_line(type(row), encode_row(row)).timestamp


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_the_last_year(shipper: Shipper, source: PostgresSource, year: int) -> None:
    """Readers get the times of both ends, wherever the server is."""
    moment = datetime(year, 12 if year > 1 else 1, 31, 23, 59, 59, tzinfo=timezone.utc)
    shipper.ship(
        log(timestamp=int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()) * 10**9)
    )
    assert newest_log(source).timestamp == moment


def test_long_and_odd_names(shipper: Shipper, source: PostgresSource) -> None:
    """255 characters fit, of any width; what stands in a path stays."""
    wide = "\N{ROCKET}" * 255
    parent = "a\tb\nc\\" + "x" * 200
    shipper.ship(node(parent, node_name=""), node(wide, parent, metadata={"\x00": {1, 2}, "b": b"\xff"}))
    found = {record.node_id: record for record in source.nodes(EXPERIMENT_ID)}
    assert found[wide].parent_id == parent
    assert found[wide].metadata == {"\u2400": [1, 2], "b": "\\xff"}


def test_huge_values_are_cut_and_say_so(shipper: Shipper, source: PostgresSource) -> None:
    """Text and JSON of many megabytes are bounded, nesting without end is too."""
    nested: list[Any] = []
    nested.append(nested)
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(5_000):
        inner["d"] = inner = {}
    shipper.ship(
        log("m" * 3_000_000, context={"huge": "x" * 3_000_000}, performance={"cycle": nested, "deep": deep})
    )
    found = newest_log(source)
    assert found.message.endswith("[cut: 3000000 characters]")
    assert found.context is not None
    assert "pipespan.cut" in found.context
    assert found.performance is not None
    assert found.performance["cycle"] == ["<cycle>"]


def test_odd_json_is_readable(shipper: Shipper, source: PostgresSource) -> None:
    """NaN, infinities, bytes and lone surrogates become text."""
    details = {
        "nan": math.nan,
        "inf": -math.inf,
        "lone": "\ud83d",
        "nul": "a\x00b",
        "bytes": b"ok",
        "big": 10**30,
    }
    shipper.ship(event(details=details), job("77777777-0000-4000-8000-000000000000", evidence={"s": {"x"}}))
    (found,) = source.events(EXPERIMENT_ID, limit=1)
    assert found.details == {
        "nan": "nan",
        "inf": "-inf",
        "lone": "<U+D83D>",
        "nul": "a\u2400b",
        "bytes": "ok",
        "big": 10**30,
    }
