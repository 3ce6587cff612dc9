"""Wakes a thread that pauses, from wherever in the user's program: also from a signal handler."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class Bell:
    """A thread pauses at it until somebody rings, or its time is up.

    A `threading.Event` takes a lock to be set. A signal handler that meets its own thread in the midst of that, and
    ends a phase itself, would wait for that lock for ever; to put something into a `SimpleQueue` can be interrupted
    and done again anywhere.
    """

    def __init__(self) -> None:
        self._rung: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the thread; where it does not pause, its next pause ends at once."""
        if self._rung.empty():
            self._rung.put(None)

    def pause(self, longest_s: float) -> None:
        """Wait until somebody rings, or has since the last pause; `longest_s` at most."""
        with suppress(Empty):
            self._rung.get(timeout=max(longest_s, 0.0))
            while True:
                self._rung.get_nowait()
