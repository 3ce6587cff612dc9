"""One lane of a stream: appends lines to segment files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pipespan.spool.layout import Lane, Segment, segment_path, segments
from pipespan.spool.private import FILE_MODE

_FLAGS: Final = (
    os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class LaneWriter:
    """Appends whole lines; the caller holds the stream's lock."""

    def __init__(self, folder: Path, lane: Lane, segment_bytes: int) -> None:
        self._folder = folder
        self._lane: Lane = lane
        self._segment_bytes = segment_bytes
        self._size_bytes = 0
        self._retired: tuple[int, int] | None = None
        # The open segment: its descriptor and the offset of its first byte, which change together.
        self._segment = (os.open(segment_path(folder, lane, 0), _FLAGS, FILE_MODE), 0)

    @property
    def end_bytes(self) -> int:
        """Offset behind the last byte written, as the file has it.

        What is counted here only tells when to rotate. It may be wrong: a signal handler may write in the middle
        of the counting, or raise before it, as Ctrl-C does.
        """
        fd, start_bytes = self._segment
        return start_bytes + os.fstat(fd).st_size

    @property
    def open_bytes(self) -> int:
        """Offset of the first byte of the segment that is written to."""
        return self._segment[1]

    @property
    def open_size_bytes(self) -> int:
        """How much the segment that is written to holds, as it was counted here: near enough to be told."""
        return self._size_bytes

    def append(self, line: bytes) -> None:
        """Append `line` with a single write; a write that is cut short is taken back.

        Raises:
            OSError: it could not be written; the lane is as before.
        """
        if self._size_bytes >= self._segment_bytes:
            self._rotate()
        fd = self._segment[0]
        written = os.write(fd, line)
        if written != len(line):
            os.ftruncate(fd, os.fstat(fd).st_size - written)
            raise OSError(errno.ENOSPC, "write was cut short; the disk is full")
        self._size_bytes += written

    def _rotate(self) -> None:
        # A signal handler that logs may come in between and append to the old segment, hence `end_bytes` as late
        # as possible, and a second look at the size by whoever comes first.
        start_bytes = self.end_bytes
        fd = os.open(segment_path(self._folder, self._lane, start_bytes), _FLAGS, FILE_MODE)
        if self.end_bytes != start_bytes:
            os.close(fd)
            return
        # The old one stays open until the next turn: who was interrupted in `append` may still write to it.
        retired, self._retired = self._retired, self._segment
        self._segment = (fd, start_bytes)
        self._size_bytes = 0
        if retired is not None:
            os.close(retired[0])

    def sync(self) -> None:
        """Put what was written on the disk itself, against loss of power."""
        os.fsync(self._segment[0])

    def close(self) -> None:
        """Close the files; never raises."""
        for segment in (self._segment, self._retired):
            try:
                if segment is not None:
                    os.close(segment[0])
            except OSError:
                continue

    def read_open(self, offset_bytes: int) -> bytes:
        """Return what stands behind `offset_bytes` in the files that are open, which may have been removed."""
        found = b""
        for segment in (self._retired, self._segment):
            if segment is not None:
                fd, start_bytes = segment
                with os.fdopen(os.dup(fd), "rb") as file:
                    file.seek(max(offset_bytes - start_bytes, 0))
                    found += file.read()
        return found[: found.rfind(b"\n") + 1]

    def drop_oldest(self, from_bytes: int) -> tuple[int, int]:
        """Remove the oldest closed segment.

        Returns:
            How many of its lines lay behind `from_bytes`, and where the next segment starts; without a closed
            segment 0 and `from_bytes`.
        """
        found = segments(self._folder, self._lane)
        if len(found) < 2:
            return 0, from_bytes
        oldest, following = found[:2]
        lines = _lines_behind(oldest, from_bytes)
        oldest.path.unlink()
        return lines, following.start_bytes


def _lines_behind(segment: Segment, offset_bytes: int) -> int:
    with segment.path.open("rb") as file:
        file.seek(max(offset_bytes - segment.start_bytes, 0))
        return file.read().count(b"\n")
