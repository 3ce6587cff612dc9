"""What the receiver notes of requests and spans goes when it is old, and only then."""

from __future__ import annotations

import uuid

import pytest

from pipespan.model.rows import SpanNote
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import encode_span
from pipespan.store.postgres.write import PRUNE_ROWS, PostgresSink
from tests.fixtures.postgres import Connection


@pytest.fixture
def sink(dsn: str):
    opened = PostgresSink(dsn)
    yield opened
    opened.close()


def request() -> Batch:
    note = SpanNote(str(uuid.uuid4()), "00000000000000ab", "00000000000000cd", is_node=False)
    return Batch(StreamKey(str(uuid.uuid4()), "otlp"), 0, 1, {}, {}, [encode_span(note)])


def test_old_requests_and_spans_are_forgotten(sink: PostgresSink, conn: Connection) -> None:
    """A day and thirty days; streams of processes, which end otherwise, stay whatever their age."""
    sink.ship_requests([request() for _ in range(3)])
    stays = StreamKey(str(uuid.uuid4()), "keep")
    sink.ship(Batch(stays, 0, 7, {}, {}, []))
    conn.execute("update pipespan_streams set updated_at = now() - interval '23 hours'")
    conn.execute("update pipespan_spans set noted_at = now() - interval '29 days'")
    sink.prune_requests()
    assert counts(conn) == (4, 3)
    conn.execute("update pipespan_streams set updated_at = now() - interval '25 hours'")
    conn.execute("update pipespan_spans set noted_at = now() - interval '31 days'")
    sink.ship_requests([request()])
    sink.prune_requests()
    assert counts(conn) == (2, 1)
    assert sink.offset(stays) == 7


def test_more_than_one_round_is_forgotten(sink: PostgresSink, conn: Connection) -> None:
    """A call deletes a bounded number at a time, and goes on until there are no more."""
    conn.execute(
        "insert into pipespan_streams (stream_id, lane, shipped_bytes, updated_at) "
        "select gen_random_uuid(), 'otlp', 1, now() - interval '2 days' from generate_series(1, %s)",
        [2 * PRUNE_ROWS + 5],
    )
    sink.prune_requests()
    assert counts(conn) == (0, 0)


def counts(conn: Connection) -> tuple[int, ...]:
    row = conn.execute(
        "select (select count(*) from pipespan_streams), (select count(*) from pipespan_spans)"
    ).fetchone()
    assert row is not None
    return tuple(row)
