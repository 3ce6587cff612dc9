"""Descriptors that are held for long: numbered high, out of the program's way."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

LEAST_FD: Final = 200
"""A program that closes what it does not know gets low numbers again, and those are not ours."""


def open_high(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a file that stays open.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), mode)
    if sys.platform == "win32":
        return fd
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LEAST_FD)
        except OSError:  # few descriptors are allowed here
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)
