"""This process's work on experiments: one job for each, from its first node to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipespan.model.rows import Row
from pipespan.model.status import Status
from pipespan.record.ending import Ending, ending_of, own_death
from pipespan.record.identity import ProcessIdentity, process_identity
from pipespan.record.job import Job
from pipespan.record.launch import Launch
from pipespan.record.naming import ChildNames
from pipespan.record.parent import Experiment, Parent, joining
from pipespan.record.resources import ResourceReader
from pipespan.spool.notices import Notices


@dataclass(frozen=True, slots=True)
class Serving:
    """How this process serves the work of others.

    Attributes:
        idle_limit_s: a job that has had no work for so long is over; None where it never is.
        engine: whose process it is, if that one ends idle processes without a word.
    """

    idle_limit_s: float | None = None
    engine: str | None = None


class Jobs:
    """The jobs of this process that run.

    Args:
        write: takes their rows.
        launch: the process's place among others.
        notices: where troubles are told.
        on_job: called when this process begins to work on an experiment, in the thread that does.
        lock: guards the names below foreign parents, and that one job begins for an experiment.
    """

    def __init__(
        self, write: Callable[[Row], None], launch: Launch, notices: Notices, on_job: Callable[[], None],
        lock: threading.RLock,
    ) -> None:  # fmt: skip
        self.running: dict[str, Job] = {}
        """Those that run, by experiment id; iterate over the object instead, which other threads may change."""

        self.launch = launch
        self.serving = Serving()
        # Reads this process's resources; there from the first job on, where the platform lets it.
        self.reader: ResourceReader | None = None
        self._write = write
        self._notices = notices
        self._on_job = on_job
        self._lock = lock
        self._foreign_names: dict[tuple[str, str], ChildNames] = {}
        self._identity: ProcessIdentity | None = None

    def __iter__(self) -> Iterator[Job]:
        """Iterate over those that run now."""
        return iter(list(self.running.values()))

    def __len__(self) -> int:
        """Return how many run."""
        return len(self.running)

    def identity(self) -> ProcessIdentity:
        """Return who this process is."""
        if self._identity is None:
            self._identity = process_identity()
        return self._identity

    def below(self, parent: Parent) -> Job:
        """Return the job for children of `parent`, which begins if there is none."""
        with self._lock:
            return self.running.get(parent.experiment_id) or self.begin(joining(parent))

    def begin(self, experiment: Experiment) -> Job:
        """Begin to work on an experiment."""
        rank = self.launch.rank
        inherited = experiment.worker is not None and experiment.worker == self.launch.worker
        if not experiment.is_owner and inherited:
            rank = None  # that of the process that handed the parent on, as by the workers of a pool
        job = Job(experiment, self.identity(), rank, self.launch.world_size)
        job.engine = self.serving.engine
        self.running[experiment.id] = job
        if self.reader is None:
            self.reader = self._new_reader()
        self._on_job()
        if not experiment.is_owner:
            self._write(job.stub())
            self._write(job.row())
        return job

    def end(self, job: Job, status: Status, ending: Ending) -> None:
        """Write the end of this process's work on an experiment, with an event unless it came to its end."""
        if job.is_ended:
            return
        job.is_ended = True
        self.running.pop(job.experiment.id, None)
        with self._lock:
            for key in [one for one in self._foreign_names if one[0] == job.experiment.id]:
                del self._foreign_names[key]
        if status != "completed":
            self._write(own_death(job, ending, self.reader))
        self._write(
            job.row(
                status, cause=ending.cause, exit_code=ending.exit_code, exit_signal=ending.exit_signal,
                evidence=ending.evidence,
            )
        )  # fmt: skip

    def end_if_idle(self, job: Job, now_ns: int) -> bool:
        """End `job` if this process serves work of others and has had none of this experiment for long."""
        limit_s = self.serving.idle_limit_s
        if limit_s is None or job.experiment.is_owner or job.open_nodes:
            return False
        if now_ns - job.progress_at < limit_s * 1e9:
            return False
        with self._lock:
            if job.open_nodes:
                return False
            self.end(job, "completed", ending_of(None))
        return True

    def names_under(self, parent: Parent) -> ChildNames:
        """Return the names that this process gives to children of a foreign parent; the caller holds the lock."""
        key = (parent.experiment_id, parent.node_id)
        names = self._foreign_names.get(key)
        if names is None:
            names = self._foreign_names[key] = ChildNames(parent.node_id, self.below(parent).mark)
        return names

    def close_reader(self) -> None:
        """Read no more of this process's resources."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def _new_reader(self) -> ResourceReader | None:
        try:
            return ResourceReader()
        except Exception as trouble:  # noqa: BLE001 - psutil may not know the platform
            self._notices.trouble("resources", f"resources cannot be read: {trouble!r}")
            return None
