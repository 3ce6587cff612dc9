"""What the ticker does beside progress and heartbeats: stalls, held interpreters, memory, questions from others."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.rows import EventRow
from pipespan.record.cgroup import Limits
from pipespan.record.extras import SOURCE
from pipespan.record.hangtimer import HangTimer, TimerUse, can_be_used
from pipespan.record.memorywatch import MemoryWatch
from pipespan.record.responder import Responder
from pipespan.record.stuck import AskChildren, StuckDetector
from pipespan.spool import asking
from pipespan.spool.asking import Box, live_work
from pipespan.wiring.stores import spool_dirs

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.model.resources import ResourceSample
    from pipespan.record.job import Job
    from pipespan.record.node import Node
    from pipespan.record.recorder import Recorder
    from pipespan.spool.writer import SpoolWriter
    from pipespan.store.base import Desk, RequestRow

LOOK_S: Final = 0.7
"""However often the ticker comes; by default it comes less often, and a question waits for it."""

LEAST_HANG_S: Final = 2.0
"""A shorter timer would run out between two looks."""

DATABASE_EVERY_S: Final = 1.4
"""The database is asked for requests so often while all is well, at each second round of shipping by default: some
0.3 ms of CPU here, and as much there."""

DATABASE_SHARE: Final = 0.01
"""And so seldom that it takes no more than this share of the time, however slow it is."""

TROUBLE_PAUSE_S: Final = 60.0
"""After a failure it is asked no sooner: requests must not disturb what is shipped."""


class Watching:
    """All of it, for one process; implements `pipespan.record.ticker.Watch`."""

    def __init__(
        self,
        settings: Settings,
        recorder: Recorder,
        writer: SpoolWriter,
        flush: Callable[[float], Any],
        timer_before: TimerUse,
    ) -> None:
        self._recorder = recorder
        self._writer = writer
        self.responder = Responder(recorder, flush)
        self._box = Box(self._folder, self.responder.answer)
        self._detector = StuckDetector(
            recorder,
            expected_s=settings.expect_progress_every_s or None,
            floor_s=settings.stall_floor_s,
            ask_children=_ChildStreams(spool_dirs(settings)),
        )
        self._memory = MemoryWatch(recorder, Limits(settings.memory_limit_bytes))
        self._hang: HangTimer | None = None
        if settings.hang_timer_s and can_be_used():
            after_s = max(settings.hang_timer_s, LEAST_HANG_S)
            self._hang = HangTimer(after_s, timer_before, self._folder, self._tell_hang)
        self._is_watching = settings.watch
        self._next_at = 0.0

    def look(
        self, jobs: Sequence[Job], nodes: Sequence[Node], now_s: float, sample: ResourceSample | None
    ) -> None:
        """Do what is due; a part that fails does not keep the others from it."""
        if now_s < self._next_at:
            return
        self._next_at = now_s + LOOK_S
        parts: list[Callable[[], None]] = [
            lambda: self._box.look(
                [_work(job) for job in jobs], self._recorder.jobs.identity().started_at_unix_ns
            ),
            self.responder.look,
        ]
        if self._is_watching:
            if self._hang is not None:
                hang = self._hang
                parts.append(lambda: hang.look(now_s))
            parts.append(lambda: self._detector.look(nodes, now_s, sample))
            parts.append(lambda: self._memory.look(jobs, nodes, now_s, sample))
        for part in parts:
            try:
                part()
            except Exception as trouble:  # noqa: BLE001 - see above
                self._recorder.notices.trouble("watching", f"looking after the program failed: {trouble!r}")

    def close(self) -> None:
        """End it; never raises."""
        for part in (self._detector.close, *(() if self._hang is None else (self._hang.close,))):
            try:
                part()
            except Exception as trouble:  # noqa: BLE001 - the exit of the program is not ours to disturb
                self._recorder.notices.trouble("watching", f"looking after the program failed: {trouble!r}")

    def _folder(self) -> Path | None:
        stream = self._writer.stream
        return None if stream is None else stream.folder

    def _tell_hang(self, stacks: str, late_s: float) -> None:
        for job in self._recorder.jobs:
            self._recorder.write(hang_event(job.experiment.id, job.id, stacks, late_s))


def hang_event(experiment_id: str, job_id: str, stacks: str, late_s: float | None) -> EventRow:
    """Return the event of an interpreter that was held; `late_s` is for how long, None while it is held."""
    for_how_long = "is held" if late_s is None else f"was held for about {late_s:.0f} s"
    return EventRow(
        experiment_id=experiment_id,
        job_id=job_id,
        node_id=None,
        event_type="stalled",
        source=SOURCE,
        severity="WARNING",
        title=f"the interpreter {for_how_long} by code that lets no other thread run",
        details={"held_s": None if late_s is None else round(late_s, 1), "stacks": stacks},
        timestamp=time.time_ns(),
    )


def _work(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "experiment_id": job.experiment.id,
        "name": job.experiment.name,
        "attempt": job.experiment.attempt,
    }


class RequestVisit:
    """Looks for requests in the database, on the connection that ships; called by the shipper's thread.

    Args:
        recorder: gives the one that is in use, whose jobs it is about.
        answer: answers a question.
    """

    def __init__(
        self, recorder: Callable[[], Recorder], answer: Callable[[RequestRow], Mapping[str, Any]]
    ) -> None:
        self._recorder = recorder
        self._answer = answer
        self._next_at = 0.0

    def __call__(self, sink: Any) -> None:
        """Answer what is asked through `sink`, when it is time to look; never raises."""
        started_at = time.monotonic()
        if started_at < self._next_at:
            return
        recorder = self._recorder()
        job_ids = [job.id for job in recorder.jobs]
        if not job_ids or not hasattr(sink, "open_requests"):
            return
        try:
            desk: Desk = sink
            for request in desk.open_requests(job_ids):
                desk.answer_request(request.id, self._answer(request))
        except Exception as trouble:  # noqa: BLE001 - requests must not disturb what is shipped
            recorder.notices.trouble("requests", f"requests cannot be looked for: {trouble}")
            self._next_at = time.monotonic() + TROUBLE_PAUSE_S
            return
        took_s = time.monotonic() - started_at
        self._next_at = started_at + max(DATABASE_EVERY_S, took_s / DATABASE_SHARE)


class _ChildStreams(AskChildren):
    """Asks child processes that use pipespan, through the folders of their streams."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._places: dict[str, tuple[Path, int]] = {}
        self._answers: dict[str, Mapping[str, Any]] = {}

    def ask(self, pids: Iterable[int]) -> Sequence[str]:
        """Ask those of `pids` that have a stream; return the ids of the questions."""
        wanted = set(pids)
        if not wanted:
            return ()
        asked: list[str] = []
        for work in live_work(self._folders, socket.gethostname()):
            if work.meta.pid in wanted:
                question = asking.new_question("stack", "its parent process")
                try:
                    asking.ask(work.folder, question)
                except OSError:
                    continue  # it has just ended
                self._places[question.id] = (work.folder, work.meta.pid)
                asked.append(question.id)
        return asked

    def collect(self, names: Sequence[str]) -> Mapping[str, Any] | None:
        for name in names:
            if name not in self._answers:
                answer = asking.take_answer(self._places[name][0], name)
                if answer is not None:
                    self._answers[name] = answer
        return self._found(names) if all(name in self._answers for name in names) else None

    def give_up(self, names: Sequence[str]) -> Mapping[str, Any]:
        for name in names:
            if name not in self._answers:
                asking.withdraw(self._places[name][0], name)
        return self._found(names)

    def _found(self, names: Sequence[str]) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for name in names:
            _, pid = self._places.pop(name)
            answer = self._answers.pop(name, None)
            found[str(pid)] = {"error": "no answer"} if answer is None else answer
        return found
