"""What `otel` needs from the outside, as Protocols: whose node a context is in, and where rows go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from opentelemetry.context import Context

from pipespan.model.rows import Row


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


FindNode: TypeAlias = Callable[[Context], NodeIdentity | None]
"""Return the nearest node of a context, else the pipeline that runs in this process, else None."""


class RowWriter(Protocol):
    """Takes rows, from any thread, and never blocks or raises; the recorder's sink is one."""

    def write(self, row: Row) -> None:
        """Accept `row`; afterwards it survives the death of the process."""
