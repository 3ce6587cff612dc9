"""A lock on a file that lives and dies with the process: its holder is alive as long as it is held.

On POSIX it is a record lock (`fcntl.lockf`), which a forked child does not inherit, so a stream's lock falls
with the very process that took it. Such a lock is also lost when *any* descriptor of the file is closed in the
holding process: nobody may open a lock file of the process's own stream a second time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipespan.spool.private import FILE_MODE


class FileLock:
    """A held lock; `release` gives it back."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def try_take(cls, path: Path) -> FileLock | None:
        """Return the lock on `path`, or None when another process holds it.

        Raises:
            OSError: the file cannot be opened.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        if _lock(fd):
            return cls(fd)
        os.close(fd)
        return None

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
