"""A command's output as JSON lines in a file that is rotated by size, and how such files are read and followed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700

DEFAULT_MAX_BYTES: Final = 10 * 1024 * 1024
DEFAULT_MAX_FILES: Final = 5

OWN_STREAM: Final = "pipespan"
"""What stands as `stream` of the supervisor's own lines, beside stdout and stderr."""

_BLOCK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a process's lines go.

    Attributes:
        path: of the newest file; older ones have `.1`, `.2`, ... behind the name.
        max_bytes: size from which on a new file is begun.
        max_files: how many there are at most, the newest one included.
    """

    path: Path
    max_bytes: int = DEFAULT_MAX_BYTES
    max_files: int = DEFAULT_MAX_FILES

    def files(self) -> list[Path]:
        """Return where the files may be, newest first."""
        return [self.path, *(self.rotated(number) for number in range(1, self.max_files))]

    def rotated(self, number: int) -> Path:
        """Return the path of the file that was rotated `number` times."""
        return self.path.with_name(f"{self.path.name}.{number}")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a process."""

    time: datetime
    stream: str
    attempt: int
    message: str

    def to_json(self) -> bytes:
        """Return the line as it stands in the file."""
        document = {
            "time": self.time.isoformat(timespec="microseconds"), "stream": self.stream, "attempt": self.attempt,
            "message": self.message,
        }  # fmt: skip
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> LogLine:
        """Return the line in `data`; what is no such line is a message by itself, since a reader wants all there is."""
        try:
            found: Any = json.loads(data)
            return cls(
                datetime.fromisoformat(found["time"]),
                str(found["stream"]),
                int(found["attempt"]),
                str(found["message"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            text = data.decode("utf-8", "replace").rstrip("\n")
            return cls(datetime.fromtimestamp(0, timezone.utc), OWN_STREAM, 0, text)


class JsonLinesLog:
    """Writes a process's lines. It never raises and never waits: lines that cannot be written are counted."""

    def __init__(self, place: LogPlace) -> None:
        self.lost_lines = 0
        self.trouble: OSError | None = None
        self._place = place
        self._fd: int | None = None
        self._size = 0
        self._is_torn = False

    def write(self, attempt: int, stream: str, lines: Sequence[str]) -> None:
        """Append `lines` with the present time."""
        now = datetime.now(timezone.utc)
        for piece in _pieces(LogLine(now, stream, attempt, line).to_json() for line in lines):
            self._append(piece)

    def close(self) -> None:
        """Give the file back."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _append(self, data: bytes) -> None:
        try:
            fd = self._open(len(data))
            data = b"\n" + data if self._is_torn else data
            written = os.write(fd, data)
            self._size += written
            self._is_torn = written < len(data)
            if self._is_torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.trouble = error
            self.lost_lines += data.count(b"\n")
            self.close()

    def _open(self, coming: int) -> int:
        if self._fd is not None and self._size and self._size + coming > self._place.max_bytes:
            self.close()
            self._rotate()
        if self._fd is None or not self._is_there(self._fd):
            self.close()
            self._place.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._fd = os.open(self._place.path, flags, FILE_MODE)
            self._size = os.fstat(self._fd).st_size
            if self._size and self._size + coming > self._place.max_bytes:
                return self._open(coming)
        return self._fd

    def _is_there(self, fd: int) -> bool:
        """Tell whether the file still has its name: somebody may remove it, or rotate it by other means."""
        try:
            return os.path.samestat(os.fstat(fd), self._place.path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        files = self._place.files()
        for newer, older in zip(reversed(files[:-1]), reversed(files[1:]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        if len(files) == 1:
            files[0].unlink(missing_ok=True)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together to pieces of a size that one write takes."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)


class LogReader:
    """Reads what there is, and then what comes, whatever is rotated meanwhile."""

    def __init__(self, place: LogPlace) -> None:
        self._place = place
        self._file: BufferedReader | None = None
        self._rest = b""

    def read_new(self) -> list[LogLine]:
        """Return the lines that were finished since the last call; the first call begins at the oldest."""
        lines: list[LogLine] = []
        while True:
            lines += self._read_rest()
            following = self._following()
            if following is None:
                return lines
            # It was rotated, so nothing more comes; but something may have come since we read.
            lines += self._read_rest()
            self.close()
            self._file, self._rest = following, b""

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_rest(self) -> list[LogLine]:
        if self._file is None:
            return []
        whole, newline, self._rest = (self._rest + self._file.read()).rpartition(b"\n")
        return [LogLine.from_json(line) for line in whole.split(b"\n")] if newline else []

    def _following(self) -> BufferedReader | None:
        opened: BufferedReader | None = None
        for path in self._place.files():
            try:
                file = path.open("rb")
            except OSError:
                continue
            if self._file is not None and os.path.samestat(
                os.fstat(file.fileno()), os.fstat(self._file.fileno())
            ):
                file.close()
                return opened
            if opened is not None:
                opened.close()
            opened = file
        return opened


def all_lines(place: LogPlace) -> list[LogLine]:
    """Return all lines that are kept, oldest first."""
    reader = LogReader(place)
    try:
        return reader.read_new()
    finally:
        reader.close()
