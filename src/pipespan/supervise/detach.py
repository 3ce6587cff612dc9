"""Starts a supervisor that belongs to nobody's terminal, and hears from it whether the command began."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pipespan.errors import PipespanError

READY_S: Final = 20.0
"""How long a supervisor may take to start the command, on a machine with much else to do."""

_FAILED_EXEC: Final = 127
_TAIL_CHARS: Final = 2000


class DetachError(PipespanError):
    """The supervisor did not come up."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a new supervisor tells the one who started it.

    Attributes:
        supervisor_pid: its own process.
        child_pid: the command's, 0 when it could not be started.
        experiment_id: empty when nothing is recorded.
        problem: what is wrong, empty when nothing is.
    """

    supervisor_pid: int
    child_pid: int = 0
    experiment_id: str = ""
    problem: str = ""

    def send(self, fd: int) -> None:
        """Tell it, once; nobody may be listening any more."""
        with contextlib.suppress(OSError):
            os.write(fd, json.dumps(asdict(self)).encode() + b"\n")
        with contextlib.suppress(OSError):
            os.close(fd)

    @classmethod
    def read(cls, data: bytes) -> Report | None:
        """Return the report in `data`, None when there is none."""
        try:
            found: Any = json.loads(data)
            return cls(**found)
        except (ValueError, TypeError):
            return None


def start_detached(argv: Sequence[str], environ: Mapping[str, str], cwd: str, errors: Path) -> Report:
    """Start `argv` in a session of its own, as nobody's child, and return what it reports.

    The number of the descriptor for the report stands behind `argv`. What it writes to stderr goes to the file
    `errors`; it has no input, and no terminal, so that no hang-up reaches it.

    Raises:
        DetachError: it ended, or kept silent for too long, before it reported.
    """
    ours, theirs = os.pipe()
    try:
        _double_fork([*argv, str(theirs)], environ, cwd, errors, theirs)
    finally:
        os.close(theirs)
    try:
        report = Report.read(_read_line(ours, READY_S))
    finally:
        os.close(ours)
    if report is None:
        raise DetachError(f"the supervisor did not come up{_last_words(errors)}")
    return report


def _double_fork(argv: Sequence[str], environ: Mapping[str, str], cwd: str, errors: Path, keep: int) -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        # The session leader ends at once: what is left can never get a terminal by opening one.
        os.setsid()
        if os.fork() == 0:
            _become(argv, environ, cwd, errors, keep)
    finally:
        os._exit(_FAILED_EXEC)


def _become(argv: Sequence[str], environ: Mapping[str, str], cwd: str, errors: Path, keep: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    written = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.set_inheritable(keep, True)
    for fd, source in ((0, nothing), (1, nothing), (2, written)):
        os.dup2(source, fd)
    os.chdir(cwd)
    os.execve(sys.executable, list(argv), dict(environ))  # noqa: S606 - no shell is what is wanted


def _read_line(fd: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    data = b""
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(deadline - time.monotonic(), 0.0))
        piece = os.read(fd, 4096) if ready else b""
        if not piece:
            break
        data += piece
    return data


def _last_words(errors: Path) -> str:
    try:
        said = errors.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:].strip()
    except OSError:
        return ""
    return f"; its last line: {said.splitlines()[-1]}" if said else ""
