"""The reading end of a lane that this very process writes: what is new in it, with a single system call.

Each call of the system gives the interpreter away, and from a program that is busy it is back after 5 ms at the
soonest. So the thread that ships keeps the segment open that is written to, and does not look for others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipespan.spool.layout import Lane, segment_path
from pipespan.spool.reader import Chunk, read_chunk

FIRST_READ_BYTES: Final = 1 << 16
"""So much is new at most as a rule; to ask for more would take and give back that much memory each time."""


class Tail:
    """Reads a lane that is written to.

    Args:
        folder: the stream's folder.
        lane: which lane.
        open_bytes: tells the offset of the first byte of the segment that is written to.
    """

    def __init__(self, folder: Path, lane: Lane, open_bytes: Callable[[], int]) -> None:
        self._folder = folder
        self._lane: Lane = lane
        self._open_bytes = open_bytes
        self._fd: int | None = None
        self._start_bytes = 0

    def is_alone(self, start_bytes: int) -> bool:
        """Tell whether there is no older segment, if what stands before `start_bytes` has been shipped."""
        open_bytes = self._open_bytes()
        # Older ones were removed when the beginning of this one had been shipped.
        return start_bytes > open_bytes or not open_bytes

    def read(self, start_bytes: int, limit_bytes: int) -> Chunk | None:
        """Return what `read_chunk` does for a stream that has not ended.

        Raises:
            OSError: a segment cannot be read.
        """
        open_bytes = self._open_bytes()
        if start_bytes >= open_bytes:
            data = self._new_bytes(open_bytes, start_bytes - open_bytes, limit_bytes)
            if not data:
                return None
            end = data.rfind(b"\n") + 1
            if end:
                return Chunk(
                    start_bytes, start_bytes + end, data[:end], is_last=end == len(data) < limit_bytes,
                    is_alone=self.is_alone(start_bytes),
                )  # fmt: skip
        # In older segments, or a single line that is longer than the limit.
        return read_chunk(self._folder, self._lane, start_bytes, limit_bytes=limit_bytes, is_ended=False)

    def close(self) -> None:
        """Close the segment."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _new_bytes(self, open_bytes: int, place_bytes: int, limit_bytes: int) -> bytes:
        if self._fd is None or self._start_bytes != open_bytes:
            self.close()
            flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
            self._fd = os.open(segment_path(self._folder, self._lane, open_bytes), flags)
            self._start_bytes = open_bytes
        size_bytes = min(limit_bytes, FIRST_READ_BYTES)
        data = os.pread(self._fd, size_bytes, place_bytes)
        if len(data) == size_bytes < limit_bytes:
            data += os.pread(self._fd, limit_bytes - size_bytes, place_bytes + size_bytes)
        return data
