"""How a stream's process ended, noted in the stream's folder by whoever saw its exit status."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipespan.spool.owner import Owner
from pipespan.spool.private import FILE_MODE

EXIT_NOTE: Final = "exit"


@dataclass(frozen=True, slots=True)
class ExitNote:
    """An exit status that was seen.

    Attributes:
        exit_code: None when a signal ended the process.
        exit_signal: that signal.
        seen_by: who saw it.
        at_unix_ns: when.
    """

    exit_code: int | None
    exit_signal: int | None
    seen_by: str
    at_unix_ns: int


def exit_note(wait_status: int, seen_by: str) -> ExitNote:
    """Return the note of a status as `wait` tells it."""
    number = wait_status & 0x7F
    if number:
        return ExitNote(None, number, seen_by, time.time_ns())
    return ExitNote(wait_status >> 8 & 0xFF, None, seen_by, time.time_ns())


def write_exit_note(folder: Path, note: ExitNote) -> None:
    """Leave a note in a stream's folder, unless there is one; never raises."""
    try:
        fd = os.open(folder / EXIT_NOTE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(asdict(note)).encode())
    except OSError:
        pass  # noted already, or the stream is gone: its process said its end itself


def read_exit_note(folder: Path) -> ExitNote | None:
    """Return the note in a stream's folder, None when there is none that can be read."""
    try:
        return ExitNote(**json.loads((folder / EXIT_NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_of(owner: Owner, pid: int, start_ticks: int | None) -> bool:
    """Tell whether `owner` is the process of this pid and start; a start that is not known counts as equal."""
    return owner.pid == pid and (start_ticks is None or owner.start_ticks in (None, start_ticks))
