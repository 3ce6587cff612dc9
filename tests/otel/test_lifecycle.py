"""What happens to nodes and processes is told as log events, complete and in order."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)

from pipespan.model.lifecycle import row_of
from pipespan.model.rows import EventRow, NodeRow, Row
from pipespan.otel.lifecycle import BURST, MAX_WAITING, LifecycleSink
from pipespan.store.copytext import decode_line, encode_row
from tests.fixtures import rows

JOB_ID = "22222222-2222-4222-8222-222222222222"


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, row: Row, *, droppable: bool = False) -> None:
        self.rows.append(row)

    def write_line(self, row_type: Any, line: bytes, *, droppable: bool = False) -> None:
        self.rows.append(decode_line(row_type, line))


class Told:
    """A logger provider whose records can be read."""

    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    def rows(self) -> list[Row | None]:
        records = [one.log_record for one in self.exporter.get_finished_logs()]
        return [row_of(record.event_name or "", record.attributes or {}) for record in records]


def test_every_state_row_is_told_once_and_in_order() -> None:
    """Rows of experiments, jobs, nodes, events and metrics come out as they were written; log rows do not."""
    kept, told = Kept(), Told()
    sink = LifecycleSink(kept, told.provider)
    node = rows.node("run", metadata={"a": 1})
    written: list[Row] = [
        rows.experiment(), rows.job(JOB_ID), node, rows.log("hello"), rows.event(), rows.metric()
    ]  # fmt: skip
    for row in written:
        sink.write(row)
    sink.write_line(NodeRow, encode_row(node._replace(status="completed")))
    sink.tell()
    assert kept.rows[:6] == written
    state = [row for row in kept.rows if row != rows.log("hello")]
    assert [encode_row(row) for row in told.rows() if row is not None] == [encode_row(row) for row in state]


def test_events_carry_the_ids_of_the_nodes_span() -> None:
    """A backend shows a node's events beside its span."""
    told = Told()
    sink = LifecycleSink(Kept(), told.provider)
    sink.write(rows.node("run", trace_id="0" * 30 + "ab", span_id="0" * 14 + "cd"))
    sink.tell()
    (record,) = (one.log_record for one in told.exporter.get_finished_logs())
    assert (record.trace_id, record.span_id) == (0xAB, 0xCD)
    assert record.body == "pipeline run running"


def test_the_thread_tells_by_itself() -> None:
    """Nobody has to ask: what is written is told within a moment."""
    told = Told()
    sink = LifecycleSink(Kept(), told.provider)
    sink.write(rows.node("run"))
    deadline = time.monotonic() + 10
    while not told.exporter.get_finished_logs():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_processor_that_raises_harms_nobody() -> None:
    """The row is written, the trouble is counted, and the next row is told."""

    class Breaks(LogRecordProcessor):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            raise RuntimeError("boom")

        def shutdown(self) -> None: ...

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Breaks())
    kept = Kept()
    sink = LifecycleSink(kept, provider)
    sink.write(rows.node("run"))
    sink.write(rows.node("run"))
    sink.tell()
    assert len(kept.rows) == 2
    assert sink.failure_count == 2


def test_secrets_are_hidden_in_events() -> None:
    """A row passes the gate before it is told of, as it does before the spool."""
    told = Told()
    sink = LifecycleSink(Kept(), told.provider, lambda _row: rows.event("hidden"))
    sink.write(rows.event("password=hunter2"))
    sink.tell()
    (record,) = (one.log_record for one in told.exporter.get_finished_logs())
    assert record.body == "hidden"
    assert "hunter2" not in str(record.attributes)


def test_what_waits_is_bounded() -> None:
    """A provider that hangs costs memory for a bounded number of rows; none is lost on the way to the spool."""
    kept, told = Kept(), Told()
    sink = LifecycleSink(kept, told.provider)
    row = rows.node("run")
    with sink._emitting:  # as if an emission hung  # noqa: SLF001
        for _ in range(MAX_WAITING + 100):
            sink.write(row)
        assert len(sink._waiting) <= MAX_WAITING  # noqa: SLF001
    assert len(kept.rows) == MAX_WAITING + 100


def test_a_burst_is_told_by_the_last_row_of_each_node() -> None:
    """Every node's last state, every event and process, each once, in order; nothing is left out of the spool."""
    kept, told = Kept(), Told()
    sink = LifecycleSink(kept, told.provider)
    with sink._emitting:  # so that all of it waits together  # noqa: SLF001
        for number in range(BURST):
            node = rows.node(f"run/a\\b {number}")
            sink.write(node)
            sink.write(rows.event(f"event {number}"))
            if number % 2:
                sink.write_line(NodeRow, encode_row(node._replace(status="running", completed_units=1)))
                sink.write(node._replace(status="completed"))
    sink.tell()
    found = told.rows()
    assert [row.title for row in found if isinstance(row, EventRow)] == [f"event {n}" for n in range(BURST)]
    nodes = [row for row in found if isinstance(row, NodeRow)]
    assert [(row.node_id, row.status) for row in nodes] == [
        (f"run/a\\b {number}", "completed" if number % 2 else "running") for number in range(BURST)
    ]
    assert len(kept.rows) == 3 * BURST


@pytest.mark.parametrize("as_line", [False, True])
def test_a_burst_never_leaves_out_an_end_for_an_older_row_that_came_later(as_line: bool) -> None:
    """The thread that looks after progress may write what it saw before the end only after the end was written."""
    told = Told()
    sink = LifecycleSink(Kept(), told.provider)
    with sink._emitting:  # noqa: SLF001 - as above
        for number in range(BURST):
            running = rows.node(f"run/{number}", status="running", version=20 + number % 2)
            sink.write(running._replace(status="failed", version=20))
            if as_line:
                sink.write_line(NodeRow, encode_row(running))
            else:
                sink.write(running)
    sink.tell()
    assert [row.status for row in told.rows() if isinstance(row, NodeRow)] == ["failed"] * BURST


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_tells_its_own_only() -> None:
    """Rows that waited at the fork are told by the parent; the child tells what it writes itself."""
    told = Told()
    sink = LifecycleSink(Kept(), told.provider)
    read_fd, write_fd = os.pipe()
    with sink._emitting:  # noqa: SLF001 - keep the parent's row waiting over the fork
        sink.write(rows.node("parents"))
        pid = os.fork()
        if pid == 0:
            sink.write(rows.node("own"))
            sink.tell()
            names = [row.node_id for row in told.rows() if isinstance(row, NodeRow)]
            os.write(write_fd, ",".join(names).encode())
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read_fd, 100) == b"own"
    os.close(read_fd)
    os.close(write_fd)
    sink.tell()
    assert [row.node_id for row in told.rows() if isinstance(row, NodeRow)] == ["parents"]


def test_batch_processors_take_them() -> None:
    """A batch processor copies records; what it exports is complete."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    sink = LifecycleSink(Kept(), provider)
    sink.write(rows.node("run"))
    sink.tell()
    provider.force_flush()
    provider.shutdown()
    (one,) = exporter.get_finished_logs()
    row = row_of(one.log_record.event_name or "", one.log_record.attributes or {})
    assert row == rows.node("run")
