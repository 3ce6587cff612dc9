"""A connection is warmed up before the first rows come, and nothing is left of that."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from psycopg import conninfo

from pipespan.errors import StoreUnavailableError
from pipespan.model.rows import TABLES, Row
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import batch_of, event, experiment, job, log, metric, new_key, node

NOBODY = ("00000000-0000-0000-0000-000000000000", "keep", 0)
JOB_ID = "22222222-3333-4444-8555-666666666666"


@pytest.fixture
def sink(dsn: str) -> Iterator[PostgresSink]:
    with closing(PostgresSink(dsn)) as opened:
        yield opened


def counts(conn: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {
        name: int(conn.execute(f"select count(*) from {name}").fetchone()[0])  # type: ignore[index]
        for name in TABLES.values()
    }


def ledger(conn: Connection) -> list[tuple[str, str, int]]:
    return conn.execute("select stream_id::text, lane, shipped_bytes from pipespan_streams").fetchall()


def temporary_tables(conn: Connection) -> set[int]:
    found = conn.execute("select oid::int from pg_class where relpersistence = 't' and relkind = 'r'")
    return {oid for (oid,) in found.fetchall()}


def test_nothing_is_left_but_a_ledger_that_stands_at_nothing(sink: PostgresSink, conn: Connection) -> None:
    """Again and again, and whoever else does so."""
    sink.get_ready()
    sink.get_ready()
    assert counts(conn) == dict.fromkeys(TABLES.values(), 0)
    assert ledger(conn) == [NOBODY]


def test_the_first_rows_find_all_tables_made(sink: PostgresSink, conn: Connection) -> None:
    """The server makes none while they wait."""
    sink.get_ready()
    made = temporary_tables(conn)
    rows: list[Row] = [
        experiment(),
        job(JOB_ID),
        node("run"),
        node("run/step", "run"),
        log(),
        event(),
        metric(),
    ]
    sink.ship(batch_of(rows, new_key()))
    assert made
    assert temporary_tables(conn) == made
    assert counts(conn) == {**dict.fromkeys(TABLES.values(), 1), "pipeline_progress": 2}


def test_several_get_ready_at_a_time(dsn: str, conn: Connection) -> None:
    """As the watchers of several state folders do."""

    def get_ready(_number: int) -> None:
        with closing(PostgresSink(dsn)) as own:
            for _ in range(5):
                own.get_ready()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(get_ready, range(4)))
    assert counts(conn) == dict.fromkeys(TABLES.values(), 0)
    assert ledger(conn) == [NOBODY]


def test_a_database_that_takes_no_rows_is_told_of_when_there_are_some(dsn: str, conn: Connection) -> None:
    """To get ready is no errand of anybody's: it fails quietly, and leaves the connection as it should be."""
    name = conninfo.conninfo_to_dict(dsn)["dbname"]
    conn.execute(f'alter database "{name}" set default_transaction_read_only to on')
    with closing(PostgresSink(dsn, is_looked_after=True)) as own:
        own.get_ready()
        assert own.offset(new_key()) == 0
        with pytest.raises(StoreUnavailableError, match="read-only"):
            own.ship(batch_of([experiment()], new_key()))
    assert ledger(conn) == []


def test_a_database_that_is_away_is_told_of(dsn: str) -> None:
    """There is no connection then, and whoever asks learns why."""
    with (
        closing(PostgresSink(conninfo.make_conninfo(dsn, port=1))) as own,
        pytest.raises(StoreUnavailableError),
    ):
        own.get_ready()
