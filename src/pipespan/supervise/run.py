"""A command as an experiment of one pipeline: what it says becomes logs, how it ends the outcome."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipespan.config import process_environment
from pipespan.model import semconv
from pipespan.model.attributes import cut_text
from pipespan.supervise.child import ChildExit
from pipespan.supervise.folding import LineFolder
from pipespan.supervise.outcome import error_of
from pipespan.supervise.recording import AttemptRecord, JobEnd, NoRecord, Recording
from pipespan.supervise.traceback import FoundTraceback, traceback_of

MAX_TAIL_LINES: Final = 1000
"""So much of stderr is kept to look for a traceback; an endless recursion prints a thousand frames at most."""

MAX_TAIL_CHARS: Final = 1_000_000
"""However long those lines are."""

KeepLines = Callable[[str, Sequence[str]], None]
"""Is given the name of a stream and the lines that were finished on it, blank ones too; must not raise."""

MAX_MESSAGE_CHARS: Final = 200
"""Of the last line so much is shown beside the pipeline."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and how the experiment is called.

    Attributes:
        argv: the command and its arguments; no shell.
        name: of the pipeline.
        params: further parameters of the experiment.
        tags: of the experiment.
        targets: the descriptors that the child's stdout and stderr go on to.
    """

    argv: Sequence[str]
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    targets: tuple[int, int] = (1, 2)


class Session:
    """The record of one attempt; keeps the command safe from trouble with it."""

    def __init__(
        self, recording: Recording, command: Command, attempt: int, experiment_id: str | None
    ) -> None:
        self.trouble: Exception | None = None
        self.attempt = attempt
        self._record: AttemptRecord = NoRecord()
        params = {"argv": list(command.argv), **command.params}
        with self._safely():
            self._record = recording.open(
                command.name, params=params, tags=command.tags, attempt=attempt, experiment_id=experiment_id
            )

    @contextlib.contextmanager
    def _safely(self) -> Iterator[None]:
        try:
            yield
        except Exception as trouble:  # noqa: BLE001 - see the class
            self.trouble = trouble

    @property
    def experiment_id(self) -> str:
        """UUID of the experiment; empty when nothing is recorded."""
        return self._record.experiment_id

    def cancelled_by(self) -> str | None:
        """See `AttemptRecord`, as for the others below."""
        with self._safely():
            return self._record.cancelled_by()
        return None

    def log(self, record: logging.LogRecord) -> None:
        """Record a log record."""
        with self._safely():
            self._record.log(record)

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        """Record lines of a stream."""
        # One call for each piece of output: a context manager would cost more than the call itself.
        try:
            self._record.lines(stream, lines)
        except Exception as trouble:  # noqa: BLE001 - see the class
            self.trouble = trouble

    def message(self, text: str) -> None:
        """Show a line beside the pipeline."""
        try:
            self._record.message(text)
        except Exception as trouble:  # noqa: BLE001 - see the class
            self.trouble = trouble

    def event(self, title: str, details: Mapping[str, Any]) -> None:
        """Record an event."""
        with self._safely():
            self._record.event(title, details)

    def child_started(self, pid: int) -> None:
        """Note which process the command is."""
        with self._safely():
            self._record.child_started(pid)

    def child_ended(self, exit_code: int | None, exit_signal: int | None) -> None:
        """Leave the exit status with what the command itself has recorded."""
        with self._safely():
            self._record.child_ended(exit_code, exit_signal)

    def end(self, error: BaseException | None, job: JobEnd) -> None:
        """End the attempt."""
        with self._safely():
            self._record.end(error, job)

    def child_env(self) -> dict[str, str]:
        """Return the environment of the command."""
        try:
            environ = self._record.child_env()
        except Exception as trouble:  # noqa: BLE001 - see the class
            self.trouble = trouble
            environ = process_environment()
        return {**environ, semconv.ENV_ATTEMPT: str(self.attempt)}


class Stream:
    """Turns one stream of the child into log records."""

    def __init__(self, name: str, session: Session, keep: KeepLines) -> None:
        self.tail: deque[str] = deque(maxlen=MAX_TAIL_LINES)
        self._keep_lines = keep
        self._tail_chars = 0
        self._name = name
        self._session = session
        self._folder = LineFolder()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._record(self._folder.feed(data))
        self._show(self._folder.current.strip() or (self.tail[-1] if self.tail else ""))

    def finish(self) -> None:
        """Take what is left of an unfinished line."""
        self._record(self._folder.finish())

    def last_line(self) -> str:
        """Return the last line that says anything."""
        return self.tail[-1].strip() if self.tail else ""

    def report(self, found: FoundTraceback) -> None:
        """Record a traceback of the child as one error."""
        record = new_record(self._name, logging.ERROR, f"{found.error_type}: {found.message}".rstrip(": "))
        record.exc_text = found.text
        record.__dict__[semconv.ERROR_TYPE] = found.error_type
        self._session.log(record)

    def _record(self, lines: Sequence[str]) -> None:
        self._keep(lines)
        if lines:
            self._keep_lines(self._name, lines)
        # A blank line says nothing; the terminal has it.
        said = [line for line in lines if line and not line.isspace()]
        if said:
            self._session.lines(self._name, said)

    def _keep(self, lines: Sequence[str]) -> None:
        for line in lines[-MAX_TAIL_LINES:]:
            if len(self.tail) == MAX_TAIL_LINES:
                self._tail_chars -= len(self.tail[0])
            self.tail.append(line)
            self._tail_chars += len(line)
            while self._tail_chars > MAX_TAIL_CHARS:
                self._tail_chars -= len(self.tail.popleft())

    def _show(self, line: str) -> None:
        if not line:
            return
        # Shown as it is and not read: a percentage in it may be of one bar of many.
        self._session.message(cut_text(line, MAX_MESSAGE_CHARS))


def new_record(stream: str, level: int, message: str) -> logging.LogRecord:
    """Return a log record of what the command said on a stream."""
    record = logging.LogRecord(stream, level, "", 0, message, None, None)
    record.__dict__["stream"] = stream
    return record


def judge(ended: ChildExit, err: Stream) -> BaseException | None:
    """Return the exception that stands for the end, with the child's own traceback recorded if it left one."""
    found = None
    if ended.return_code != 0 and signal.SIGINT not in ended.received:
        found = traceback_of(list(err.tail))
    if found is not None:
        err.report(found)
    return error_of(ended, err.last_line(), is_reported=found is not None)
