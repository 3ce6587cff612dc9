"""A recorder whose rows a test can look at."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, Row, RowType
from pipespan.otel.handler import RowLogHandler
from pipespan.otel.spans import PlainSpans
from pipespan.record.node import Node
from pipespan.record.recorder import Recorder, RecorderConfig
from pipespan.spool.notices import Notices
from pipespan.store.copytext import decode_line, encode_row

RowT = TypeVar("RowT", ExperimentRow, JobRow, NodeRow, LogRow, EventRow, MetricRow)


class Recorded:
    """A recorder of the test's own, its rows as they would reach the store, and the log records it made."""

    def __init__(self, **config: Any) -> None:
        self.written: list[tuple[Row, bool]] = []
        self.jobs_begun = 0
        self.notices = Notices()
        self.handler: RowLogHandler
        self.recorder = Recorder(
            self, PlainSpans(), self.take, RecorderConfig(**config), self.notices, self.on_job
        )  # fmt: skip
        self.handler = RowLogHandler(self.recorder.find_node, self.recorder)

    def write(self, row: Row, *, droppable: bool = False) -> None:
        # Encoded and decoded: what a store gets, and as it was at this moment.
        self.written.append((decode_line(type(row), encode_row(row)), droppable))

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        self.written.append((decode_line(row_type, line), droppable))

    def take(self, record: logging.LogRecord) -> None:
        self.handler.handle(record)

    def on_job(self) -> None:
        self.jobs_begun += 1

    def pipeline(self, name: str = "run", **options: Any) -> Any:
        return self.recorder.scope("pipeline", name, **options)

    def step(self, name: str | None = None, **options: Any) -> Any:
        return self.recorder.scope("step", name, **options)

    def current(self) -> Node:
        node = self.recorder.parent_now()
        assert isinstance(node, Node)
        return node

    def rows(self, kind: type[RowT]) -> list[RowT]:
        return [row for row, _ in self.written if isinstance(row, kind)]

    def nodes(self) -> dict[str, NodeRow]:
        """Return the last row of each node, by id, in order of start."""
        found: dict[str, NodeRow] = {}
        for row in self.rows(NodeRow):
            assert row.node_id not in found or row.version > found[row.node_id].version
            found[row.node_id] = row
        return found

    def statuses(self) -> dict[str, str]:
        return {node_id: row.status for node_id, row in self.nodes().items()}

    def troubles(self) -> set[str]:
        return set(self.notices.counts)
