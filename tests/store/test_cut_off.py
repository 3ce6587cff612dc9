"""A writer that is cut off in the midst of a transaction, or stopped, holds up no other."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
from psycopg import conninfo

from pipespan.errors import StoreUnavailableError
from pipespan.model.rows import Row
from pipespan.store.base import Batch, RequestSink
from pipespan.store.postgres.connect import Timeouts
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.proxy import Proxy
from tests.fixtures.rows import Shipper, batch_of, event, experiment, job, log, metric, new_key, node

JOB_ID = "6dd6f6a5-9ad4-4a4d-8d8c-7e4b0b1c2d3e"

Ship = Callable[[RequestSink, Batch], object]


def rows(version: int, *, padding: str = "") -> list[Row]:
    """Rows of every kind, of which those that are merged are the same for all writers."""
    return [
        experiment(version=version),
        job(JOB_ID, version=version, log_messages=()),
        node("p", version=version),
        node("p/a", "p", version=version),
        log("failed" + padding, level="ERROR", severity_number=17),
        log("failed again", level="ERROR", severity_number=17),
        event(),
        metric(),
    ]


@pytest.fixture
def other(dsn: str) -> Iterator[Shipper]:
    """Another writer, which does not wait long for a lock."""
    sink = PostgresSink(dsn, timeouts=Timeouts(statement_s=20, lock_s=0.5))
    yield Shipper(sink)
    sink.close()


def ship_stream(sink: RequestSink, batch: Batch) -> None:
    """As a program does."""
    sink.ship(batch)


def ship_pieces(sink: RequestSink, batch: Batch) -> None:
    """As the courier does, to whom the lines of each table come in one piece."""
    sink.ship(replace(batch, lines={kind: [b"".join(lines)] for kind, lines in batch.lines.items()}))


def ship_request(sink: RequestSink, batch: Batch) -> None:
    """As a receiver does."""
    sink.ship_requests([batch])


SEVEN_TABLES = range(11, 100)
"""Messages of a transaction by COPY, which asks back for each of seven tables."""


@pytest.mark.parametrize(
    ("ship", "padding", "wanted"),
    [
        pytest.param(ship_stream, "", range(1, 2), id="few rows of a stream"),
        pytest.param(ship_pieces, "", range(1, 2), id="few rows by the courier"),
        pytest.param(ship_stream, "." * 100_000, SEVEN_TABLES, id="many rows of a stream"),
        pytest.param(ship_request, "", SEVEN_TABLES, id="requests"),
    ],
)
def test_whoever_is_cut_off_at_any_message_holds_no_lock(
    dsn: str, other: Shipper, ship: Ship, padding: str, wanted: range
) -> None:
    """However many messages a transaction takes; with few rows it is a single one."""
    versions = itertools.count(1)
    other.ship(*rows(next(versions)))
    for messages in itertools.count(1):
        with way_to(dsn) as proxy, sink_through(proxy, dsn) as sink:
            proxy.messages_left = messages
            writer = threading.Thread(
                target=attempt, args=(ship, sink, batch_of(rows(next(versions), padding=padding), new_key()))
            )
            writer.start()
            while writer.is_alive() and not proxy.is_cut:
                writer.join(0.01)
            wait_until_idle(dsn)
            other.ship(*rows(next(versions)))
            proxy.close()  # what the writer waits for does not come
            writer.join(10)
            # Before its connection is closed: libpq frees it under the thread that is using it.
            assert not writer.is_alive()
        if not proxy.is_cut:  # it had said all before
            break
    assert messages - 1 in wanted


def attempt(ship: Ship, sink: PostgresSink, batch: Batch) -> None:
    with suppress(StoreUnavailableError):
        ship(sink, batch)


@contextmanager
def way_to(dsn: str) -> Iterator[Proxy]:
    server = conninfo.conninfo_to_dict(dsn)
    proxy = Proxy(f"{server['host']}/.s.PGSQL.{server.get('port', 5432)}")
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def sink_through(proxy: Proxy, dsn: str) -> Iterator[PostgresSink]:
    """Give a writer that is connected through the proxy."""
    sink = PostgresSink(conninfo.make_conninfo(dsn, host="127.0.0.1", port=proxy.port, sslmode="disable"))
    sink.offset(new_key())
    yield sink
    sink.close()


def wait_until_idle(dsn: str) -> None:
    """Wait until the server has done all that has arrived, and is silent or waits for more."""
    query = (
        "select from pg_stat_activity where state = 'active' and wait_event is distinct from 'ClientRead'"
        " and pid <> pg_backend_pid() and datname = current_database()"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(query).rowcount:
            time.sleep(0.01)
