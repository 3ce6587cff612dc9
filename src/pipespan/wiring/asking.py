"""Asks live processes where they stand, or to stop: through the database, and on this host through their folders."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipespan.config import Settings
from pipespan.errors import NotFoundError, StoreError
from pipespan.model.records import ExperimentRecord, JobRecord
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.liveness import Host, job_finding, process_finding, this_host
from pipespan.record.hangtimer import HANG_FILE, read_hang
from pipespan.record.identity import user_name
from pipespan.spool import asking
from pipespan.spool.asking import Work, has_newcomer, live_work
from pipespan.store.base import RequestRow
from pipespan.wiring.stores import known_spool_dirs, open_asker

if TYPE_CHECKING:
    from pipespan.store.base import Asker

POLL_S: Final = 0.05

NEWCOMER_S: Final = 3.0
"""A process tells what it works on at a tick of its own thread: one that is younger may not have done so yet."""


@dataclass(slots=True)
class Target:
    """A process that is asked.

    Attributes:
        experiment_id: what it works on.
        job_id: its job.
        name: of the experiment.
        host: where it runs.
        pid: there.
        is_here: whether this is its host, and its pid means something here.
        started_s: start of the process in seconds since 1970, None where that is not known.
        folder: of its stream, where that is on this host.
        question_id: of what it was asked.
        answer: what it said.
    """

    experiment_id: str
    job_id: str
    name: str
    host: str
    pid: int
    is_here: bool
    started_s: float | None
    folder: Path | None = None
    question_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: Mapping[str, Any] | None = None

    def is_running(self) -> bool:
        """Tell whether the very process is known to run on this host."""
        return self.is_here and process_finding(self.pid, self.started_s) == "running"

    def is_gone(self) -> bool:
        """Tell whether the process is known not to exist any more."""
        return self.is_here and process_finding(self.pid, self.started_s) in {"gone", "replaced"}

    def send(self, number: int) -> bool:
        """Send a signal to the very process, never to another one of its pid; return whether it was sent."""
        try:
            # A descriptor stands for the process that it was opened for, so the look and the signal are about one.
            descriptor = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        except OSError:
            descriptor = None
        try:
            if not self.is_running():
                return False
            if descriptor is not None and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(descriptor, number)
            else:
                os.kill(self.pid, number)
        except OSError:
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)
        return True

    def held_stacks(self) -> str | None:
        """Return what the timer in C wrote, when code that holds the interpreter keeps the process from answering."""
        return None if self.folder is None else read_hang(self.folder / HANG_FILE)


def asked_by() -> str:
    """Return who asks, for the record."""
    return f"{user_name() or 'somebody'}@{socket.gethostname()}"


def targets_of(settings: Settings, experiment: ExperimentRecord, jobs: Sequence[JobRecord]) -> list[Target]:
    """Return the processes of the latest attempt that have not ended, as the database knows them."""
    here = this_host()
    latest = max((job.attempt for job in jobs), default=0)
    folders = {work_job["job_id"]: work.folder for work in _works(settings) for work_job in work.jobs}
    return [
        _target(experiment, job, here, folders.get(job.id))
        for job in jobs
        if job.attempt == latest and job.ended_at is None and job.status not in TERMINAL_STATUSES
    ]


def _target(experiment: ExperimentRecord, job: JobRecord, here: Host, folder: Path | None) -> Target:
    started = job.process_started_at
    return Target(
        experiment_id=experiment.id,
        job_id=job.id,
        name=experiment.name,
        host=job.host,
        pid=job.pid,
        is_here=job_finding(job, here) in {"running", "gone", "replaced"},
        started_s=None if started is None else started.timestamp(),
        folder=folder,
    )


def local_targets(settings: Settings, reference: str) -> list[Target]:
    """Return the processes of this host that work on the experiment that `reference` means, without a database.

    Where none is found a process that has just begun is given time to tell.

    Raises:
        NotFoundError: none does.
    """
    until_s = time.monotonic() + NEWCOMER_S
    while True:
        targets = _local_targets(settings, reference)
        if targets:
            return targets
        if time.monotonic() > until_s or not has_newcomer(known_spool_dirs(settings), NEWCOMER_S):
            raise NotFoundError(
                f"no live process on this host works on {reference!r}; `pipespan list` asks the database"
            )
        time.sleep(POLL_S)


def _local_targets(settings: Settings, reference: str) -> list[Target]:
    found = [(work, job) for work in _works(settings) for job in work.jobs if _is_alive(work)]
    if reference == "last":
        found.sort(key=lambda one: one[0].meta.created_unix_ns)
        reference = str(found[-1][1].get("experiment_id")) if found else reference
    wanted = reference.lower()
    targets = [
        Target(
            experiment_id=str(job.get("experiment_id")),
            job_id=str(job.get("job_id")),
            name=str(job.get("name")),
            host=work.meta.host,
            pid=work.meta.pid,
            is_here=True,
            started_s=work.started_s,
            folder=work.folder,
        )
        for work, job in found
        if job.get("name") == reference
        or (len(wanted) >= 4 and str(job.get("experiment_id")).startswith(wanted))
    ]
    if len({target.experiment_id for target in targets}) > 1:
        newest = targets[-1].experiment_id
        targets = [target for target in targets if target.experiment_id == newest]
    return targets


def _works(settings: Settings) -> list[Work]:
    return live_work(known_spool_dirs(settings), socket.gethostname())


def _is_alive(work: Work) -> bool:
    return process_finding(work.meta.pid, work.started_s) in {"running", "unknown"}


class Inquiry:
    """One request to several processes.

    Args:
        settings: where the database is.
        targets: whom to ask.
        kind: `stack` or `cancel`.
        args: further wishes.
        use_database: whether to ask through the database, too.
    """

    def __init__(
        self, settings: Settings, targets: Sequence[Target], kind: str, args: Mapping[str, Any], *,
        use_database: bool,
    ) -> None:  # fmt: skip
        self._settings = settings
        self.targets = targets
        self._kind = kind
        self._args = args
        self._asker: Asker | None = open_asker(settings) if use_database else None

    def ask(self) -> None:
        """Ask all.

        Raises:
            StoreError: the database does not take it, and there is no other way to one of them.
        """
        by = asked_by()
        for target in self.targets:
            request = RequestRow(target.question_id, self._kind, by, self._args)
            if target.folder is not None:
                try:
                    asking.ask(target.folder, request)
                except OSError:
                    target.folder = None  # not ours to write to
            self._ask_by_database(target, request)

    def _ask_by_database(self, target: Target, request: RequestRow) -> None:
        if self._asker is None:
            return
        try:
            self._asker.ask(request, target.experiment_id, target.job_id)
        except StoreError:
            if target.folder is None:
                raise
            self._asker = None

    def poll(self) -> bool:
        """Take in the answers that are there; return whether all are."""
        waiting = [target for target in self.targets if target.answer is None]
        for target in waiting:
            if target.folder is not None:
                target.answer = asking.take_answer(target.folder, target.question_id)
        waiting = [target for target in waiting if target.answer is None]
        if waiting and self._asker is not None:
            with suppress(StoreError):
                answers = self._asker.answers([target.question_id for target in waiting])
                for target in waiting:
                    target.answer = answers.get(target.question_id)
        return all(target.answer is not None for target in self.targets)

    def wait(self, timeout_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Poll until all have answered, for at most `timeout_s`; return whether they have."""
        deadline = time.monotonic() + timeout_s
        while not self.poll():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            sleep(min(POLL_S, left_s))
        return True

    def close(self) -> None:
        """Take back what nobody answered by the folders, and let the database go; never raises."""
        for target in self.targets:
            if target.folder is not None and target.answer is None and self._kind == "stack":
                asking.withdraw(target.folder, target.question_id)
        if self._asker is not None:
            self._asker.close()
