"""Stacks also when nothing of Python runs, because C code holds the interpreter: a timer of `faulthandler`'s.

The timer is a C thread that needs no interpreter. The ticker arms it anew every few seconds; when the ticker cannot run
for long, the timer writes the stacks of all threads, once, into a file in the stream's folder. The ticker turns the
file into an event when it runs again; who looks at the stream from outside may do so before.

There is one such timer in a process. Where the program uses it itself, it is left to the program: what
`faulthandler` refers to tells that, before our first arming as far as the program gave a file and not a bare
descriptor, and afterwards always.

A forked child of a process with an armed timer hangs at its exit, waiting for a thread that does not exist there; so
the timer rests during each fork.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pipespan.record.forks import FORKS
from pipespan.spool.private import open_private

HANG_FILE: Final = "hang"
"""Name of the file in the stream's folder."""

REARM_S: Final = 5.0
"""Arming takes some 25 to 130 microseconds, so it is not done at each tick, unless the timer is short."""

MAX_HANG_BYTES: Final = 64 << 10
"""So much of the file is taken over."""

_LOCK_WAIT_S: Final = 1.0


class HangTimer:
    """Arms the timer; used by the ticker's thread, and by forks.

    Args:
        after_s: how long the interpreter may be held before the stacks are written.
        before: what the program used before.
        folder: gives the stream's folder, None while there is none.
        tell: called with the stacks and how long the ticker could not run.
    """

    def __init__(
        self,
        after_s: float,
        before: TimerUse,
        folder: Callable[[], Path | None],
        tell: Callable[[str, float], None],
    ) -> None:
        self._after_s = after_s
        self._rearm_s = min(REARM_S, after_s / 4)
        self._folder = folder
        self._tell = tell
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._armed_at: float | None = None
        self._before = before
        self._was_armed = False
        self._is_left_alone = False
        self._is_forking = False
        self._lock = threading.Lock()
        FORKS.add(
            before=self._before_fork,
            after_in_parent=self._after_fork_in_parent,
            after_in_child=self._after_fork_in_child,
        )

    def look(self, now_s: float) -> None:
        """Take over what the timer wrote, and arm it anew when that is due."""
        armed_at = self._armed_at
        if self._is_left_alone or (armed_at is not None and now_s - armed_at < self._rearm_s):
            return
        if armed_at is not None:
            self._take_over(now_s - armed_at)
        with self._lock:
            if not self._is_forking:
                self._arm(now_s)

    def close(self) -> None:
        """Disarm the timer for good, unless it is somebody else's by now."""
        with self._lock:
            self._is_left_alone = True
            self._disarm()
            file, self._file = self._file, None
        if file is not None:
            file.close()

    def _arm(self, now_s: float) -> None:
        if not self._open():
            return
        if self._armed_at is not None and not self._is_ours():
            self._is_left_alone = True
            return
        # Its own files for crashes and signals are bare descriptors, so more files mean the program's timer.
        if not self._was_armed and (self._before.is_taken or _files_held() > self._before.files):
            self._is_left_alone = True
            return
        try:
            faulthandler.dump_traceback_later(self._after_s, repeat=False, file=self._file)  # type: ignore[arg-type]
        except (RuntimeError, OSError, ValueError):  # no threads left, or the file is gone
            self._armed_at = None
            return
        self._armed_at = now_s
        self._was_armed = True

    def _open(self) -> bool:
        """Open the file in the present stream's folder; return whether there is one."""
        folder = self._folder()
        if folder is None:
            return False
        path = folder / HANG_FILE
        if self._file is not None and path == self._path:
            return True
        try:
            file = open_private(path, os.O_APPEND)
        except OSError:
            return False
        if self._file is not None:
            self._disarm()
            self._armed_at = None
            self._file.close()
        self._file, self._path = file, path
        return True

    def _is_ours(self) -> bool:
        return any(one is self._file for one in gc.get_referents(faulthandler))

    def _disarm(self) -> None:
        if self._file is not None and self._armed_at is not None and self._is_ours():
            faulthandler.cancel_dump_traceback_later()

    def _take_over(self, late_s: float) -> None:
        if self._file is None or self._path is None:
            return
        try:
            if os.fstat(self._file.fileno()).st_size == 0:
                return
            text = read_hang(self._path)
            os.ftruncate(self._file.fileno(), 0)
        except OSError:
            return
        if text:
            self._tell(text, late_s)

    # Forks.

    def _before_fork(self) -> None:
        """Let the timer rest."""
        has_lock = self._lock.acquire(timeout=_LOCK_WAIT_S)
        self._is_forking = True
        try:
            is_ours = self._armed_at is not None and self._is_ours()
            self._disarm()
            if is_ours:
                self._armed_at = None  # the next look arms it, and takes nobody else for its owner
        finally:
            if has_lock:
                self._lock.release()

    def _after_fork_in_parent(self) -> None:
        """Go on; the next look arms it."""
        self._is_forking = False

    def _after_fork_in_child(self) -> None:
        """Do nothing more in the child, which has a timer of its own once it has a ticker."""
        self._is_left_alone = True
        self._lock = threading.Lock()


def read_hang(path: Path) -> str | None:
    """Return what the timer wrote into `path`, cut where it is long; None when it wrote nothing."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HANG_BYTES + 1)
    except OSError:
        return None
    text = content[:MAX_HANG_BYTES].decode("utf-8", "replace").strip()
    return f"{text}\n... cut ..." if text and len(content) > MAX_HANG_BYTES else text or None


@dataclass(frozen=True, slots=True)
class TimerUse:
    """What the program did with faulthandler before we did anything with it.

    Attributes:
        is_taken: whether the timer seems to be in use already.
        files: how many files `faulthandler` holds for the program.
    """

    is_taken: bool
    files: int


def timer_use() -> TimerUse:
    """Return how the timer is used now; to be asked before anything of ours enables `faulthandler`."""
    files = _files_held()
    return TimerUse(files > faulthandler.is_enabled(), files)


def _files_held() -> int:
    return sum(isinstance(one, io.IOBase) for one in gc.get_referents(faulthandler))


def can_be_used() -> bool:
    """Tell whether the timer makes sense here: not where there is no lock to hold, and stacks change under its eyes."""
    is_gil_enabled: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return is_gil_enabled is None or is_gil_enabled()
