"""Doubles of what `otel` is given."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context

from pipespan.model.rows import LogRow, Row
from pipespan.model.status import LogLevel
from pipespan.otel.ports import OpenNode
from pipespan.record.ports import SpanHandle
from pipespan.store.copytext import decode_line


@dataclass(frozen=True)
class Node:
    """A node by name only."""

    experiment_id: str = "11111111-1111-4111-8111-111111111111"
    job_id: str = "22222222-2222-4222-8222-222222222222"
    node_id: str = "train/load/shard-3"
    is_foreign: bool = False


class Rows(list[Row]):
    """A sink that keeps rows."""

    def write(self, row: Row) -> None:
        """Keep `row`."""
        self.append(row)

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        """Keep the row of `line`, which is what the columns told beside it say."""
        row = decode_line(LogRow, line)
        assert (row.experiment_id, row.level, row.message) == (experiment_id, level, message)
        self.append(row)

    @property
    def logs(self) -> list[LogRow]:
        """Only the rows of log records."""
        return [row for row in self if isinstance(row, LogRow)]


NODE_KEY = "test-node"


def find_node(context: Context) -> OpenNode | None:
    """Return the node in `context`; there is no running pipeline besides."""
    found = context.get(NODE_KEY)
    return found if isinstance(found, Node) else None


def inside(handle: SpanHandle) -> Context:
    """Return the context in which the span of `handle` is the current one."""
    return set_span_in_context(handle.span, handle.parent)
