"""Retention by itself: the writer starts it now and then, in a thread with a connection of its own.

Whatever goes wrong here is nobody's trouble at that moment: the next writer tries again, and the doctor says how far
behind it is. What it takes to apply the rules is loaded when it is time (`maintain_retain`), which it seldom is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pipespan.store.base import Batch, RequestRow, StreamKey

if TYPE_CHECKING:
    from pipespan.store.postgres.write import PostgresSink

LOOK_EVERY_S: Final = 900.0
"""A writer looks so often whether it is time; the database lets one of all writers through in an hour."""

FIRST_LOOK_S: Final = 2.0
"""A process that ends sooner leaves it to others: its end is not to wait."""

LATE_LOOK_S: Final = 3600.0
"""When somebody looks first who leaves it to another process, which may be gone by then."""


class RetainingSink:
    """A sink that lets retention run beside it; for the rest it is the one that it is given.

    Args:
        sink: takes the batches.
        run: applies retention; asks its argument between two steps, and may raise.
        has_default: there are rules where none were set for the database.
        first_look_s: after so long it is looked first whether it is time.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        sink: PostgresSink,
        run: Callable[[Callable[[], bool]], object],
        *,
        has_default: bool,
        first_look_s: float = FIRST_LOOK_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._run = run
        self._has_default = has_default
        self._clock_s = clock_s
        self._look_at_s = clock_s() + first_look_s
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ship(self, *batches: Batch) -> None:
        """See `Sink.ship`."""
        self._sink.ship(*batches)
        if self._clock_s() >= self._look_at_s:
            self._look()

    def ship_requests(self, batches: Sequence[Batch]) -> Sequence[StreamKey]:
        """See `RequestSink.ship_requests`."""
        known = self._sink.ship_requests(batches)
        if self._clock_s() >= self._look_at_s:
            self._look()
        return known

    def prune_requests(self) -> None:
        """See `RequestSink.prune_requests`."""
        self._sink.prune_requests()

    def get_ready(self) -> None:
        """See `CommonSink.get_ready`."""
        self._sink.get_ready()

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        return self._sink.offset(key)

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `Desk.open_requests`."""
        return self._sink.open_requests(job_ids)

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `Desk.answer_request`."""
        self._sink.answer_request(request_id, answer)

    @property
    def stray_rows(self) -> int:
        """See `PostgresSink`."""
        return self._sink.stray_rows

    def close(self) -> None:
        """See `Sink.close`; a step that is under way ends by itself or with the process."""
        self._is_closed.set()
        self._sink.close()

    def _look(self) -> None:
        self._look_at_s = self._clock_s() + LOOK_EVERY_S
        if self._thread is not None and self._thread.is_alive():
            return
        if not self._sink.is_retention_due(has_default=self._has_default):
            return
        self._thread = threading.Thread(target=self._run_quietly, name="pipespan-retention", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._thread = None

    def _run_quietly(self) -> None:
        try:
            self._run(lambda: not self._is_closed.is_set())
        except Exception:  # noqa: BLE001, S110 - nothing of this may reach the user's program
            pass  # the doctor tells how far behind retention is, and `pipespan db prune` says why
