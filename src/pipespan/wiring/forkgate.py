"""Keeps a fork from falling into the middle of an import, or of the start of a process, that one of our threads does.

A module that is half imported at the fork stays locked in the child for ever: the thread that would finish it does
not exist there. Whoever imports that module in the child hangs, and that may be the user's own code. So our threads
import through the gate, and a fork waits for it, but not for long. The start of a process is over when a pipe closes,
and a child that was forked meanwhile keeps it open.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Final

from pipespan.record.forks import FORKS

FORK_WAIT_S: Final = 2.0
"""A fork waits no longer for an import of ours; the imports take a third of a second, on a busy machine more."""


class ForkGate:
    """A lock that imports or starts in threads hold and that forks wait for; made once a process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        FORKS.add(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def _before_fork(self) -> None:
        self._lock.acquire(timeout=FORK_WAIT_S)

    def _after_fork_in_parent(self) -> None:
        # Whether it was taken is known by the lock alone: a signal handler that raises may cut the taking short.
        with suppress(RuntimeError):
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
