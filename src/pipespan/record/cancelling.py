"""How a request to stop reaches the program: as an exception at its next call of pipespan, in the main thread.

Nothing is raised where Python code of the program happens to be: only where it calls us, which are places that it
chose. These are the opening of a scope, `progress`, `advance`, `set` and `track` of a node, and the next item of a
tracked loop. It is raised once: what cleans up afterwards may use pipespan as ever.
"""

from __future__ import annotations

import threading
import time
from _thread import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipespan.errors import Cancelled

if TYPE_CHECKING:
    from pipespan.record.node import Node


class Cancellation:
    """A request to stop that this process has received.

    Args:
        asked_by: who asks.
        signal_after_s: after this the process is sent SIGTERM; a failure from then on is the request's doing.
    """

    def __init__(self, asked_by: str, signal_after_s: float | None) -> None:
        self.asked_by = asked_by
        self.received_at = time.monotonic()
        self._signal_after_s = signal_after_s
        self._main = threading.main_thread().ident
        self._is_raised = False

    @property
    def is_signalled(self) -> bool:
        """Whether the time of the signals has come."""
        return self._signal_after_s is not None and self.age_s() >= self._signal_after_s

    def age_s(self) -> float:
        """Return how long ago the request came."""
        return time.monotonic() - self.received_at

    def tell(self) -> None:
        """Note that the program was told by its own asking: then nothing is raised at it."""
        if threading.get_ident() == self._main:
            self._is_raised = True

    def check(self) -> None:
        """Raise `Cancelled` when this is the main thread, once.

        Raises:
            Cancelled: somebody asked the program to stop.
        """
        if not self._is_raised and threading.get_ident() == self._main:
            self.stop()

    def stop(self) -> None:
        """Raise `Cancelled`, also where it was raised before: a loop that was cut short must not seem to be done.

        Raises:
            Cancelled: always.
        """
        self._is_raised = True
        raise Cancelled(f"cancelled by {self.asked_by}")

    def reach(self, node: Node) -> None:
        """Let the next call on `node` raise; what a loop over tracked items costs does not change for it."""
        node.put_lock(lambda lock: _CheckedLock(lock, self))
        for counter in node.counters:
            counter.stop_in(self._main, self.stop)


class _CheckedLock:
    """A node's lock that asks for a cancellation first."""

    def __init__(self, lock: Any, cancellation: Cancellation) -> None:
        self._lock: RLock = lock
        self._cancellation = cancellation

    def __enter__(self) -> bool:
        self._cancellation.check()
        return self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, traceback)
