"""File locks of the embedded server: who may start it, and whether any process of it lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipespan.errors import StoreUnavailableError

POLL_S = 0.01


@contextmanager
def locked(path: Path, *, deadline: float) -> Generator[None]:
    """Hold the lock of this file; threads of one process exclude each other too.

    Raises:
        StoreUnavailableError: another process holds it beyond the deadline.
    """
    handle = open_lock(path)
    try:
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"another process keeps the lock {str(path)!r}, it starts or stops the embedded database;"
                    " try again in a moment"
                )
            time.sleep(POLL_S)
        try:
            yield
        finally:
            # closing alone would not free it if another thread forked meanwhile: the child has a copy
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def open_lock(path: Path) -> int:
    """Open a lock file, made if missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def try_lock(handle: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Say whether any process holds the lock of this file."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(handle):
            return True
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False
    finally:
        os.close(handle)
