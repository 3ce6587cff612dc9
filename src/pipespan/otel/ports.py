"""What `otel` needs from the outside, as Protocols: whose node a context is in, and where rows go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from opentelemetry.context import Context

from pipespan.model.rows import Row
from pipespan.model.status import LogLevel


class NodeIdentity(Protocol):
    """Names a node; a live node is one."""

    @property
    def experiment_id(self) -> str:
        """UUID of the experiment."""

    @property
    def job_id(self) -> str:
        """UUID of the job that works on the node."""

    @property
    def node_id(self) -> str:
        """Path of the node from the root."""


class OpenNode(NodeIdentity, Protocol):
    """A node below which this process records; a live node is one."""

    @property
    def is_foreign(self) -> bool:
        """Whether another process opened the node; its `job_id` is not the same for good then."""


FindNode: TypeAlias = Callable[[Context], OpenNode | None]
"""Return the nearest node of a context, else the pipeline that runs in this process, else None."""


class RowWriter(Protocol):
    """Takes rows, from any thread, and never blocks or raises; the recorder's sink is one."""

    def write(self, row: Row) -> None:
        """Accept `row`; afterwards it survives the death of the process."""


class LogWriter(RowWriter, Protocol):
    """Takes log rows by their line, too; the recorder is one."""

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        """Accept a log row below ERROR as the COPY line that `encode_row` would make of it, free of secrets.

        Args:
            experiment_id: a column, told beside the line.
            level: likewise.
            message: likewise.
            line: the row.
        """
