"""Runs a command as an experiment of one pipeline: what it says becomes logs, how it ends the outcome."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol

from pipespan.config import process_environment
from pipespan.model import semconv
from pipespan.record.null import NULL_NODE, NULL_SCOPE, NullNode
from pipespan.supervise.child import ChildExit, run_child
from pipespan.supervise.folding import LineFolder
from pipespan.supervise.outcome import error_of
from pipespan.supervise.traceback import FoundTraceback, traceback_of

MAX_TAIL_LINES: Final = 1000
"""So much of stderr is kept to look for a traceback; an endless recursion prints a thousand frames at most."""

MAX_TAIL_CHARS: Final = 1_000_000
"""However long those lines are."""

MAX_MESSAGE_CHARS: Final = 200
"""Of the last line so much is shown beside the pipeline."""


class RunNode(Protocol):
    """What is needed of the pipeline's node."""

    unit: str | None
    """What a unit of its progress is called."""

    @property
    def experiment_id(self) -> Any:
        """UUID of the experiment."""

    def message(self, text: str) -> None:
        """Set the line that is shown beside the node."""

    def progress(self, completed: float, total: float | None = None) -> None:
        """Set how far the node is."""


class RunScope(Protocol):
    """Opens and closes the pipeline."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Recording(Protocol):
    """Where the experiment is recorded. Whatever it raises costs the record and not the command."""

    def pipeline(self, name: str, *, params: Mapping[str, Any], tags: Sequence[str]) -> RunScope:
        """Return the scope of the pipeline."""

    def child_env(self) -> dict[str, str]:
        """Return the environment that makes a child join below the current node."""

    def log(self, record: logging.LogRecord) -> None:
        """Record `record` for the current node, without any handler of `logging` seeing it."""

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        """Record each of `lines` for the current node at INFO, the stream's name being the logger's."""


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


@dataclass(frozen=True, slots=True)
class Supervised:
    """How it went.

    Attributes:
        ended: how the command ended.
        experiment_id: its experiment; empty when nothing could be recorded.
        trouble: what went wrong with the record.
    """

    ended: ChildExit
    experiment_id: str
    trouble: Exception | None


class _Session:
    """The experiment while it runs; keeps the command safe from trouble with the record."""

    def __init__(self, recording: Recording) -> None:
        self.trouble: Exception | None = None
        self._recording = recording
        self._scope: RunScope = NULL_SCOPE
        self._node: RunNode | NullNode = NULL_NODE

    @property
    def experiment_id(self) -> str:
        return str(self._node.experiment_id)

    def open(self, command: Command) -> None:
        params = {"argv": list(command.argv), **command.params}
        try:
            scope = self._recording.pipeline(command.name, params=params, tags=command.tags)
            self._node = scope.__enter__()
            self._scope = scope
        except Exception as trouble:  # noqa: BLE001 - see the class
            self.trouble = trouble

    def close(self, error: BaseException | None) -> None:
        # By hand and not by `with`: the exception stands for the child's end, our own frames say nothing of it.
        try:
            self._scope.__exit__(None if error is None else type(error), error, None)
        except Exception as trouble:  # noqa: BLE001
            self.trouble = trouble

    def log(self, record: logging.LogRecord) -> None:
        try:
            self._recording.log(record)
        except Exception as trouble:  # noqa: BLE001
            self.trouble = trouble

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        try:
            self._recording.lines(stream, lines)
        except Exception as trouble:  # noqa: BLE001
            self.trouble = trouble

    def message(self, text: str) -> None:
        self._node.message(text)

    def child_env(self) -> dict[str, str]:
        try:
            return self._recording.child_env()
        except Exception as trouble:  # noqa: BLE001
            self.trouble = trouble
            return process_environment()


class _Stream:
    """Turns one stream of the child into log records."""

    def __init__(self, name: str, session: _Session) -> None:
        self.tail: deque[str] = deque(maxlen=MAX_TAIL_LINES)
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
        self._session.message(line[:MAX_MESSAGE_CHARS])


def new_record(stream: str, level: int, message: str) -> logging.LogRecord:
    """Return a log record of what the command said on a stream."""
    record = logging.LogRecord(stream, level, "", 0, message, None, None)
    record.__dict__["stream"] = stream
    return record


async def run_command(command: Command, recording: Recording) -> Supervised:
    """Run `command` to its end as an experiment, and return how both ended."""
    session = _Session(recording)
    session.open(command)
    out, err = _Stream("stdout", session), _Stream("stderr", session)
    error: BaseException | None = KeyboardInterrupt()
    try:
        ended = await run_child(
            command.argv,
            env=session.child_env(),
            targets=command.targets,
            on_stdout=out.feed,
            on_stderr=err.feed,
        )
        for stream in (out, err):
            stream.finish()
        error = _judge(ended, err)
    finally:
        session.close(error)
    return Supervised(ended, session.experiment_id, session.trouble)


def _judge(ended: ChildExit, err: _Stream) -> BaseException | None:
    """Return the exception that stands for the end, with the child's own traceback recorded if it left one."""
    found = None
    if ended.return_code != 0 and signal.SIGINT not in ended.received:
        found = traceback_of(list(err.tail))
    if found is not None:
        err.report(found)
    return error_of(ended, err.last_line(), is_reported=found is not None)
