"""One lane of a stream: appends lines to segment files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pipespan.spool.layout import FILE_MODE, Lane, Segment, segment_path, segments

_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class LaneWriter:
    """Appends whole lines; the caller holds the stream's lock."""

    def __init__(self, folder: Path, lane: Lane, segment_bytes: int) -> None:
        self._folder = folder
        self._lane: Lane = lane
        self._segment_bytes = segment_bytes
        self._start_bytes = 0
        self._size_bytes = 0
        self._fd = os.open(segment_path(folder, lane, 0), _FLAGS, FILE_MODE)

    @property
    def end_bytes(self) -> int:
        """Offset behind the last byte written."""
        return self._start_bytes + self._size_bytes

    def append(self, line: bytes) -> None:
        """Append `line` with a single write; a write that is cut short is taken back.

        Raises:
            OSError: it could not be written; the lane is as before.
        """
        try:
            if self._size_bytes >= self._segment_bytes:
                self._rotate()
            written = os.write(self._fd, line)
            if written != len(line):
                os.ftruncate(self._fd, self._size_bytes)
                raise OSError(errno.ENOSPC, "write was cut short; the disk is full")
            self._size_bytes += written
        except OSError:
            raise
        except BaseException:
            # A signal handler raised, as Ctrl-C does: the line may be written and not counted, and from a wrong
            # size all later offsets would be wrong.
            self._size_bytes = os.fstat(self._fd).st_size
            raise

    def _rotate(self) -> None:
        # A signal handler that logs may come in between and append to the old segment, hence `end_bytes` as late
        # as possible, and a second look at the size by whoever comes first.
        start_bytes = self.end_bytes
        fd = os.open(segment_path(self._folder, self._lane, start_bytes), _FLAGS, FILE_MODE)
        if self.end_bytes != start_bytes:
            os.close(fd)
            return
        old_fd, self._fd = self._fd, fd
        self._start_bytes, self._size_bytes = start_bytes, 0
        os.close(old_fd)

    def sync(self) -> None:
        """Put what was written on the disk itself, against loss of power."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; never raises."""
        try:
            os.close(self._fd)
        except OSError:
            pass

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
