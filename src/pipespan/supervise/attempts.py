"""Runs a command, and runs it again where that was asked for: attempts of one experiment, which ends with the last."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pipespan.record.outcome import status_of
from pipespan.supervise.child import (
    NOT_EXECUTABLE,
    NOT_FOUND,
    ChildExit,
    StartOptions,
    end_group,
    run_child,
    send_to_group,
)
from pipespan.supervise.outcome import describe
from pipespan.supervise.processes import AttemptEnd, bounded_tail
from pipespan.supervise.recording import JobEnd, Recording
from pipespan.supervise.restart import End, Life, Restart, RestartPolicy, decide
from pipespan.supervise.run import Command, Session, Stream, judge
from pipespan.supervise.signals import Handlers, Inbox

LEFTOVER_GRACE_S: Final = 1.0
"""What an attempt leaves running in its group has so long to go before the next attempt."""

DEFAULT_STOP_S: Final = 10.0
"""How long a command may take to end after SIGTERM before it is killed."""

_HANGUP: Final = getattr(signal, "SIGHUP", 0)


class Watcher(Protocol):
    """Is told what happens, in the loop's thread; must not raise."""

    def started(self, attempt: int, pid: int, experiment_id: str) -> None:
        """The command has been started."""

    def lines(self, attempt: int, stream: str, lines: Sequence[str]) -> None:
        """It has finished lines of a stream."""

    def ended(self, end: AttemptEnd) -> None:
        """An attempt is over."""

    def waiting(self, attempt: int, delay_s: float, title: str) -> None:
        """The next attempt begins after a pause."""

    def stop_asked(self) -> tuple[float, str]:
        """Return how long the command may take now that it is to end, and who asked."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How a command is kept running.

    Attributes:
        watcher: is told.
        policy: when it is started again.
        first_attempt: number of the first attempt.
        experiment_id: of earlier attempts, None to make a new experiment.
        is_apart: whether the command gets a session of its own. It is then ended with all that it started, signals
            to us mean that, and a hang-up means nothing.
    """

    watcher: Watcher
    policy: RestartPolicy = RestartPolicy()  # noqa: RUF009 - frozen
    first_attempt: int = 1
    experiment_id: str | None = None
    is_apart: bool = False


@dataclass(frozen=True, slots=True)
class Supervised:
    """How it went.

    Attributes:
        ended: how the last attempt of the command ended.
        outcome: that in words.
        experiment_id: its experiment; empty when nothing could be recorded.
        gave_up: why it was not started again, None when nobody asked for that.
        trouble: what went wrong with the record.
    """

    ended: ChildExit
    outcome: str
    experiment_id: str
    gave_up: str | None = None
    trouble: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Over:
    """An attempt that is over."""

    ended: ChildExit
    error: BaseException | None
    end: AttemptEnd
    life: Life

    def job(self) -> JobEnd:
        status = "completed" if self.error is None else status_of(self.error)
        return JobEnd(status, self.end.outcome, self.end.exit_code, self.end.signal, self.end.stderr_tail)


async def run_attempts(command: Command, recording: Recording, keeping: Keeping) -> Supervised:
    """Run `command` until it is not started again, as one experiment, and return how both ended."""
    inbox = Inbox((_HANGUP,) if keeping.is_apart else ())
    # One for all attempts: between two of them a signal must find us as ready as during one.
    with Handlers(inbox.take, inbox.resize):
        return await _Attempts(command, recording, keeping, inbox).run()


class _Attempts:
    """The attempts of one command."""

    def __init__(self, command: Command, recording: Recording, keeping: Keeping, inbox: Inbox) -> None:
        self._command = command
        self._recording = recording
        self._keeping = keeping
        self._watcher = keeping.watcher
        self._inbox = inbox
        self._trouble: Exception | None = None
        self._child_pid = 0

    async def run(self) -> Supervised:
        """Run attempts until the policy, or whoever asks, ends them."""
        lives: list[Life] = []
        session = self._open(self._keeping.first_attempt, self._keeping.experiment_id)
        while True:
            with self._ended_whatever_happens(session):
                over = await self._attempt(session)
            lives.append(over.life)
            decision = decide(self._keeping.policy, lives)
            self._watcher.ended(over.end)
            if isinstance(decision, End):
                return self._finish(session, over, decision.reason)
            session = await self._restart(session, over, decision)
            if self._inbox.told.is_set():
                return self._finish(session, self._given_up(session, over), None)

    @contextlib.contextmanager
    def _ended_whatever_happens(self, session: Session) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            session.end(KeyboardInterrupt(), JobEnd("cancelled", repr(error), None, None, ()))
            raise

    def _open(self, number: int, experiment_id: str | None) -> Session:
        return Session(self._recording, self._command, number, experiment_id)

    async def _attempt(self, session: Session) -> _Over:
        number = session.attempt

        def keep(stream: str, lines: Sequence[str]) -> None:
            self._watcher.lines(number, stream, lines)

        out, err = Stream("stdout", session, keep), Stream("stderr", session, keep)
        started_ns, started_s = time.time_ns(), time.monotonic()
        stopping: list[asyncio.Task[None]] = []

        def started(pid: int) -> None:
            self._child_pid = pid
            session.child_started(pid)
            self._watcher.started(number, pid, session.experiment_id)
            if self._keeping.is_apart:
                stopping.append(asyncio.ensure_future(self._kill_when_told(pid)))

        before = len(self._inbox.received)
        ended = await run_child(
            self._command.argv, env=session.child_env(), targets=self._command.targets, on_stdout=out.feed,
            on_stderr=err.feed,
            start=StartOptions(self._keeping.is_apart, started, session.child_ended), inbox=self._inbox,
        )  # fmt: skip
        for task in stopping:
            task.cancel()
        lived_s = time.monotonic() - started_s
        if self._keeping.is_apart and self._inbox.told.is_set() and self._child_pid:
            await end_group(self._child_pid, max(self._watcher.stop_asked()[0], 0.0))
        for stream in (out, err):
            stream.finish()
        error: BaseException | None = judge(ended, err)
        outcome = describe(ended)
        if self._keeping.is_apart and self._inbox.told.is_set():
            error, outcome = KeyboardInterrupt(), f"cancelled: stopped by {self._watcher.stop_asked()[1]}"
        asked_by = None if error is None else session.cancelled_by()
        if asked_by is not None:
            error, outcome = KeyboardInterrupt(), f"cancelled by {asked_by}"
        was_told = (
            asked_by is not None
            or self._inbox.told.is_set()
            or (_HANGUP in self._inbox.received[before:] and ended.signal == _HANGUP)
        )
        end = AttemptEnd(
            number, started_ns, time.time_ns(), ended.exit_code, ended.signal, outcome,
            bounded_tail([line for line in err.tail if line.strip()]),
        )  # fmt: skip
        has_started = not (ended.problem and ended.exit_code in {NOT_EXECUTABLE, NOT_FOUND})
        return _Over(ended, error, end, Life(lived_s, ended.return_code == 0, was_told, has_started))

    async def _kill_when_told(self, pid: int) -> None:
        await self._inbox.told.wait()
        await asyncio.sleep(self._watcher.stop_asked()[0])
        send_to_group(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    async def _restart(self, session: Session, over: _Over, decision: Restart) -> Session:
        """Open the next attempt and wait out its pause; the experiment is never over in between."""
        if self._keeping.is_apart and self._child_pid:
            await end_group(self._child_pid, LEFTOVER_GRACE_S)
        number = session.attempt + 1
        title = (
            f"attempt {session.attempt} {over.end.outcome}; attempt {number} starts in {decision.delay_s:g} s"
        )
        following = self._open(number, session.experiment_id or self._keeping.experiment_id)
        following.event(title, {"attempt": session.attempt, "stderr_tail": list(over.end.stderr_tail)})
        following.message(title)
        self._close(session, over)
        self._watcher.waiting(number, decision.delay_s, title)
        with self._ended_whatever_happens(following), contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._inbox.told.wait(), decision.delay_s)
        return following

    def _given_up(self, session: Session, over: _Over) -> _Over:
        """Return the end of an attempt that was called off before its command was started."""
        now = time.time_ns()
        who = self._watcher.stop_asked()[1]
        end = replace(
            over.end, attempt=session.attempt, started_at_unix_ns=now, ended_at_unix_ns=now,
            outcome=f"cancelled: stopped by {who}", stderr_tail=(),
        )  # fmt: skip
        return replace(over, error=KeyboardInterrupt(), end=end)

    def _close(self, session: Session, over: _Over) -> None:
        session.end(over.error, over.job())
        self._trouble = self._trouble or session.trouble

    def _finish(self, session: Session, over: _Over, reason: str | None) -> Supervised:
        if reason is not None:
            session.event(f"not started again: {reason}", {"attempt": session.attempt})
        self._close(session, over)
        return Supervised(over.ended, over.end.outcome, session.experiment_id, reason, self._trouble)
