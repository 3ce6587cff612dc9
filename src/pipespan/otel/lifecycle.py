"""Tells of nodes and processes as log events, so that any OTLP backend sees what runs and not only what has ended.

The rows that go to the spool are told a second time, by a thread of its own: the user's thread pays for one append
to a queue. What waits here is bounded; where it is too much the oldest goes, since each later row says all again. For
the same reason a burst is told by the last row of each node: one that has started, moved and ended meanwhile is told
of once, since every record that is exported is encoded in this process, which has its own work to do.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import thread_time, time_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import TraceFlags

from pipespan.model import semconv
from pipespan.model.lifecycle import LifecycleEvent, StateRow, event_of
from pipespan.model.rows import LogRow, NodeRow, Row, RowType, columns
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.otel.bridged import BridgedRecord, bridge_logger
from pipespan.otel.paced import Pace
from pipespan.store.copytext import decode_line, encode_text

if TYPE_CHECKING:
    from pipespan.record.ports import RowSink

MAX_WAITING: Final = 10_000
"""Most rows that wait for the thread."""

BURST: Final = 100
"""When more rows than this wait for the thread, those that a later one of them outdates are left out."""

_ROUND_S: Final = 0.2
_PAUSES: Final = 1_000
_SEVERITIES: Final = {
    "DEBUG": (SeverityNumber.DEBUG, "DEBUG"),
    "INFO": (SeverityNumber.INFO, "INFO"),
    "WARNING": (SeverityNumber.WARN, "WARN"),
    "ERROR": (SeverityNumber.ERROR, "ERROR"),
    "CRITICAL": (SeverityNumber.FATAL, "FATAL"),
}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


Line: TypeAlias = tuple[RowType, bytes]
"""A row as its COPY line; a plain tuple, since the user's thread makes two of them for each step."""


class LifecycleRecord(BridgedRecord):
    """An event on its way through the SDK; the row that it tells of is written already."""

    def __init__(self, event: LifecycleEvent, trace_id: int, span_id: int) -> None:
        self.timestamp = event.timestamp
        self.observed_timestamp = time_ns()
        self.context = Context()
        self.trace_id, self.span_id = trace_id, span_id
        self.trace_flags = _SAMPLED if trace_id else TraceFlags.get_default()
        self.severity_number, self.severity_text = _SEVERITIES[event.level]
        self.body = event.body
        self.attributes = dict(event.attributes)
        self.event_name = event.name


class LifecycleSink:
    """A row sink that hands rows on and tells of all but log rows, which travel as the log records they are."""

    def __init__(
        self, inner: RowSink, provider: LoggerProvider, gate: Callable[[Row], Row] | None = None
    ) -> None:
        """Build a sink.

        Args:
            inner: where rows go.
            provider: where events go.
            gate: hides secrets; rows that come as lines have passed it.
        """
        self._inner = inner
        self._gate = gate
        self._logger = bridge_logger(provider, semconv.SCOPE)
        self._waiting: deque[Row | Line] = deque(maxlen=MAX_WAITING)
        self._wake = threading.Event()
        self._emitting = threading.RLock()
        self._pace = Pace()
        self._pid = 0
        self.failure_count = 0
        self.cpu_s = 0.0

    def write(self, row: Row, *, droppable: bool = False) -> None:
        """Accept `row`."""
        self._inner.write(row, droppable=droppable)
        if type(row) is not LogRow and self._logger is not None:
            self._waiting.append(row)
            if self._pid != os.getpid():
                self._start()

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        """Accept a row that is encoded already."""
        self._inner.write_line(row_type, line, droppable=droppable)
        if row_type is not LogRow and self._logger is not None:
            self._waiting.append((row_type, line))
            if self._pid != os.getpid():
                self._start()

    def _start(self) -> None:
        """Start the thread; a forked child has none, and what waited there is its parent's to tell."""
        if self._pid:
            row = self._waiting.pop()
            self._waiting.clear()
            self._waiting.append(row)
            self._emitting = threading.RLock()
            self._wake = threading.Event()
        self._pid = os.getpid()
        try:
            threading.Thread(
                target=self._run, name=f"{semconv.OWN_THREAD_PREFIX}lifecycle", daemon=True
            ).start()
        except RuntimeError:  # at the interpreter's exit none can be started; `tell` is called then
            pass

    def _run(self) -> None:
        pid = self._pid
        while self._pid == pid:
            self._wake.wait(_ROUND_S)
            if len(self._waiting) > BURST:
                self._pace.await_calm(lambda: len(self._waiting), MAX_WAITING // 2)
            self._tell()
            self.cpu_s = thread_time()

    def tell(self) -> None:
        """Emit all that waits, at once; never raises."""
        with self._pace.at_once():
            self._tell()

    def _tell(self) -> None:
        with self._emitting:
            pause = self._pace.pauses(_PAUSES)
            while self._waiting:
                # Not more than waits now: others may add for ever.
                taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
                for waiting in _latest(taken, pause) if len(taken) > BURST else taken:
                    try:
                        self._emit(waiting)
                    except Exception:  # noqa: BLE001 - processors of the program may raise; the row itself is safe
                        self.failure_count += 1
                    if len(self._waiting) < MAX_WAITING // 2:
                        pause()

    def _emit(self, waiting: Row | Line) -> None:
        row: Any = waiting
        if type(waiting) is tuple:
            row = decode_line(*waiting)
        elif self._gate is not None:
            row = self._gate(row)
        event = event_of(row)
        trace_id, span_id = _ids(row)
        if self._logger is not None:
            self._logger.emit_complete(LifecycleRecord(event, trace_id, span_id))


Rank = tuple[int, bool, int]
"""What decides between two rows of a node, as in the store: attempt, whether it has ended, version."""


def _latest(rows: Sequence[Row | Line], pause: Callable[[], None]) -> Iterable[Row | Line]:
    """Return the rows without those of nodes that a later one outdates; `pause` is called between any two."""
    found: dict[object, tuple[Rank | None, Row | Line]] = {}
    for number, row in enumerate(rows):
        pause()
        node, rank = _node_of(row)
        key = node or number
        rank_before, before = found.pop(key, (None, row))
        # Two threads may write of one node: what came last need not be the latest, and the end must not be left out.
        is_older = rank is not None and rank_before is not None and rank < rank_before
        found[key] = (rank_before, before) if is_older else (rank, row)  # in the place of the later one
    return [row for _rank, row in found.values()]


_STATUS: Final = columns(NodeRow).index("status")
_ENDED: Final = frozenset(status.encode() for status in TERMINAL_STATUSES)


def _node_of(row: Row | Line) -> tuple[tuple[bytes, bytes] | None, Rank | None]:
    """Return which node a row is of, and how late it is; None for rows of other kinds."""
    if type(row) is tuple and row[0] is NodeRow:
        fields = row[1].rstrip(b"\n").split(b"\t")
        return (fields[0], fields[1]), (int(fields[-2]), fields[_STATUS] in _ENDED, int(fields[-1]))
    if type(row) is NodeRow:
        node = row.experiment_id.encode(), encode_text(row.node_id).encode()
        return node, (row.attempt, row.status in TERMINAL_STATUSES, row.version)
    return None, None


def _ids(row: StateRow) -> tuple[int, int]:
    trace_id, span_id = getattr(row, "trace_id", None), getattr(row, "span_id", None)
    return int(trace_id or "0", 16), int(span_id or "0", 16)
