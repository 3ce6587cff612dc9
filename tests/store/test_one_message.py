"""Few rows go to the server in one message, as INSERT: they are the rows that COPY would write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.errors import OffsetError, RefusedError
from pipespan.model.rows import LogRow
from pipespan.store.copytext import encode_row
from pipespan.store.insertion import insertion
from pipespan.store.postgres.write import PostgresSink
from pipespan.store.sqlfiles import open_sql
from tests.fixtures.rows import batch_of, event, log, metric, new_key, node

Connection = psycopg.Connection[Any]

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
ODD_TEXT = st.text(alphabet="'\"\\\n\r\tNnv,();%$-\N{ROCKET}", max_size=20)
TEXT = ANY_TEXT | ODD_TEXT
COPY_LOGS = open_sql().query("copy_logs")
MANY = "." * 100_000
"""Beyond what goes in one message."""


@pytest.fixture
def tables(conn: Connection) -> Iterator[Connection]:
    """Two empty tables like that of the logs."""
    for name in ("by_copy", "by_insert"):
        conn.execute(f"create temporary table {name} as table pipeline_logs with no data")
    yield conn
    conn.execute("drop table by_copy, by_insert")


def into(table: bytes) -> bytes:
    """The query for logs, to another table."""
    return COPY_LOGS.replace(b"pipeline_logs", table)


@given(
    messages=st.lists(TEXT, min_size=1, max_size=3),
    traceback=st.none() | TEXT,
    context=st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=2),
    is_one_piece=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_rows_are_the_same(
    tables: Connection,
    messages: list[str],
    traceback: str | None,
    context: dict[str, Any],
    is_one_piece: bool,
) -> None:
    """Whatever the texts are: quotes, backslashes, line ends, the word for null, lone surrogates."""
    tables.execute("truncate by_copy, by_insert")
    lines = [encode_row(log(message, traceback=traceback, context=context)) for message in messages]
    if is_one_piece:
        lines = [b"".join(lines)]
    with tables.cursor() as cursor, cursor.copy(into(b"by_copy")) as copy:
        copy.write(b"".join(lines))
    escaping = psycopg.pq.Escaping(tables.pgconn)
    tables.execute(insertion(into(b"by_insert"), lines, lambda text: bytes(escaping.escape_literal(text))))
    assert tables.execute("select count(*) from by_insert").fetchone() == (len(messages),)
    for one, other in (("by_copy", "by_insert"), ("by_insert", "by_copy")):
        assert tables.execute(f"table {one} except table {other}").fetchall() == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"a\tb\n", id="columns"),
        pytest.param(encode_row(log()).rstrip(b"\n"), id="no end"),
        pytest.param(encode_row(log("a")).replace(b"a", b"\0", 1), id="NUL"),
        pytest.param(encode_row(log("a\\b")).replace(b"a", b"\xff", 1), id="no UTF-8"),
    ],
)
def test_a_line_that_is_none_is_not_sent(conn: Connection, line: bytes) -> None:
    """What is wrong with it is told by COPY."""
    escaping = psycopg.pq.Escaping(conn.pgconn)
    with pytest.raises((ValueError, psycopg.Error)):
        insertion(COPY_LOGS, [line], lambda text: bytes(escaping.escape_literal(text)))


def test_only_a_query_that_copies_can_be_sent() -> None:
    """Another one is a mistake of ours."""
    with pytest.raises(ValueError, match="copies"):
        insertion(open_sql().query("merge_batch"), [b"a\n"], bytes)


@pytest.mark.parametrize("padding", ["", MANY], ids=["few", "many"])
def test_a_row_that_is_refused_is_told_with_its_line(dsn: str, padding: str) -> None:
    """Whichever way it goes, and nothing of its batch is written."""
    sink = PostgresSink(dsn)
    key = new_key()
    bad = log(severity_number=10**12)
    try:
        with pytest.raises(RefusedError, match=r"COPY pipeline_logs, line 2, column severity_number"):
            sink.ship(batch_of([log(padding), bad], key))
        assert sink.offset(key) == 0
    finally:
        sink.close()


@pytest.mark.parametrize("text", [b"\xff", b"\xff\\\\"], ids=["bare", "to be quoted"])
def test_a_text_that_is_no_utf_8_is_refused(dsn: str, text: bytes) -> None:
    """And not taken for a database that is away, to which the same would be sent for ever."""
    sink = PostgresSink(dsn)
    batch = batch_of([log("damaged")], new_key())
    damaged = [line.replace(b"damaged", text) for line in batch.lines[LogRow]]
    try:
        with pytest.raises(RefusedError, match="COPY pipeline_logs, line 1"):
            sink.ship(replace(batch, lines={LogRow: damaged}))
    finally:
        sink.close()


@pytest.mark.parametrize("padding", ["", MANY], ids=["few", "many"])
def test_a_ledger_that_stands_elsewhere_is_told(dsn: str, conn: Connection, padding: str) -> None:
    """Of which stream, and where; the others that came along are not written either."""
    sink = PostgresSink(dsn)
    keys = sorted((new_key() for _ in range(3)), key=lambda key: key.stream_id)
    try:
        first = batch_of([log("first")], keys[1])
        sink.ship(first)
        with pytest.raises(OffsetError, match=keys[1].stream_id) as raised:
            sink.ship(*(batch_of([log("again" + padding)], key) for key in reversed(keys)))
        assert raised.value.shipped_bytes == first.end_bytes
        assert [sink.offset(key) for key in keys] == [0, first.end_bytes, 0]
        assert conn.execute("select message from pipeline_logs").fetchall() == [("first",)]
    finally:
        sink.close()


def test_rows_of_every_kind_go_at_once(dsn: str, conn: Connection) -> None:
    """Those that are merged, and those that are added, of several streams."""
    sink = PostgresSink(dsn)
    try:
        sink.ship(
            batch_of([node("p"), event("it's")], new_key()),
            batch_of([node("p/a", "p"), metric(), log(level="ERROR", severity_number=17)], new_key()),
        )
    finally:
        sink.close()
    counts = [
        (conn.execute(f"select count(*) from {table}").fetchone() or (0,))[0]
        for table in ("pipeline_progress", "pipeline_events", "pipeline_metrics", "pipeline_logs")
    ]
    assert counts == [2, 1, 1, 1]
