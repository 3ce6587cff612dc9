"""What `record` needs from the outside, as Protocols: where rows go, and who shadows nodes as spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from pipespan.model.rows import Row, RowType
    from pipespan.model.status import Status
    from pipespan.record.node import Node


class RowSink(Protocol):
    """Takes rows, from any thread, and never blocks or raises."""

    def write(self, row: Row, *, droppable: bool = False) -> None:
        """Accept `row`, which survives the process from then on; a `droppable` one is superseded by a later row."""

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        """Accept a row as the COPY line that `encode_row` would make of it."""


class SpanHandle(Protocol):
    """A started span, or what stands for one."""

    @property
    def trace_id(self) -> int:
        """128-bit trace id, never 0."""

    @property
    def span_id(self) -> int:
        """64-bit span id, never 0."""

    @property
    def parent(self) -> Context:
        """The context that it was started in."""

    @property
    def span(self) -> Span:
        """The span itself, to be the current one inside of the node."""

    def end(
        self,
        end_time_unix_ns: int,
        status: Status,
        error_type: str | None,
        message: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """End the span with the node's outcome; never raises."""

    def note_exception(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Tell of an exception that leaves the node; never raises.

        Args:
            error: the exception.
            hide: hides secrets in a text.
        """

    def link(self, trace_id: int, span_id: int, attributes: Mapping[str, Any]) -> None:
        """Link the span to another one; never raises."""


class Spans(Protocol):
    """Starts the shadows of nodes."""

    def start(
        self,
        name: str,
        parent: Context,
        start_time_unix_ns: int,
        attributes: dict[str, Any],
        trace_id: int | None = None,
    ) -> SpanHandle:
        """Start a span below the one in `parent`; a root gets `trace_id` when one is given; never raises."""


class NodeObserver(Protocol):
    """Is told of changes of nodes in this process, in the thread that makes them (progress: in the ticker's)."""

    def node_started(self, node: Node) -> None:
        """`node` runs now."""

    def node_progressed(self, node: Node) -> None:
        """`node` moved; throttled."""

    def node_ended(self, node: Node) -> None:
        """`node` has its final status."""
