"""This process at work on one experiment: its job row, its heartbeat, its open nodes."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.health import CANCEL_KEY, ENGINE_KEY, RANK_KEY, STALLED_KEY, WORLD_SIZE_KEY
from pipespan.model.monitoring import MONITORING_KEY
from pipespan.model.rows import ExperimentRow, JobRow
from pipespan.model.status import LogLevel, Status
from pipespan.record.identity import ProcessIdentity, command_line

if TYPE_CHECKING:
    from pipespan.record.node import Node
    from pipespan.record.parent import Experiment

LAST_MESSAGES: Final = 50
"""So many of the last log messages stand in the job's row when it ends."""


class Job:
    """One process's part in one experiment; lives as long as the process, or as the root that it owns."""

    def __init__(
        self, experiment: Experiment, identity: ProcessIdentity, rank: int | None, size: int | None = None
    ) -> None:
        self.id = str(uuid.uuid4())
        self.experiment = experiment
        self.open_nodes: dict[int, Node] = {}
        # Level and message of each; rows themselves would be freed long after they were touched last.
        self.last_logs: deque[tuple[LogLevel, str]] = deque(maxlen=LAST_MESSAGES)
        self.is_ended = False
        self.root_row: ExperimentRow | None = None
        self._identity = identity
        self._started_at = time.time_ns()
        # When work last moved: a node started, ended, or told of units.
        self.progress_at = self._started_at
        # What a reader should know beyond the columns, on each row: a broken promise, and who asked it to stop.
        self.stall: dict[str, Any] | None = None
        self.cancel: dict[str, Any] | None = None
        # What recording cost and did so far; asked for at each row, must not raise.
        self.monitoring: Callable[[], Mapping[str, Any]] | None = None
        self._version = 0
        # The engine that this process belongs to, where that ends idle ones without a word.
        self.engine: str | None = None
        # Which of how many parallel workers it is, where a launcher tells.
        self._rank: dict[str, Any] = {} if rank is None else {RANK_KEY: rank, WORLD_SIZE_KEY: size}
        # What tells this job's children under a foreign parent from those of other jobs.
        self.mark = f"@r{rank}" if rank is not None else f"@{self.id[:6]}"

    def stub(self) -> ExperimentRow:
        """Return a row that creates the experiment if its owner's row has not arrived yet."""
        experiment = self.experiment
        return ExperimentRow(
            id=experiment.id, name=experiment.name, status="running", params={}, tags=(), command=None,
            host=None, user_name=None, git_commit=None, started_at=experiment.started_at_unix_ns,
            ended_at=None, trace_id=None, attempt=0, version=0,
        )  # fmt: skip

    @property
    def where(self) -> str:
        """Which process it is, for people."""
        return f"process {self._identity.pid} on {self._identity.host}"

    def last_messages(self) -> tuple[str, ...]:
        """Return the last log messages, oldest first."""
        return tuple(f"{level} {message}" for level, message in list(self.last_logs))

    def row(
        self, status: Status = "running", *, cause: str | None = None, exit_code: int | None = None,
        exit_signal: int | None = None, evidence: Mapping[str, Any] | None = None,
    ) -> JobRow:  # fmt: skip
        """Return the job as it is now; the first time, as it was when it began."""
        now = time.time_ns() if self._version else self._started_at
        self._version = max(self._version + 1, now)
        is_ended = status != "running"
        return JobRow(
            id=self.id,
            experiment_id=self.experiment.id,
            attempt=self.experiment.attempt,
            parent_job_id=self.experiment.parent_job_id,
            host=self._identity.host,
            boot_id=self._identity.boot_id,
            pid=self._identity.pid,
            process_started_at=self._identity.started_at_unix_ns,
            status=status,
            cause=cause,
            exit_code=exit_code,
            exit_signal=exit_signal,
            evidence=self._evidence(evidence or {}),
            command=command_line(),
            started_at=self._started_at,
            heartbeat_at=now,
            progress_at=self.progress_at,
            ended_at=now if is_ended else None,
            log_messages=self.last_messages() if is_ended else (),
            version=self._version,
        )

    def _evidence(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {**self._identity.evidence(), **self._rank, **given}
        if self.engine is not None:
            found[ENGINE_KEY] = self.engine
        if self.stall is not None:
            found[STALLED_KEY] = self.stall
        if self.cancel is not None:
            found[CANCEL_KEY] = self.cancel
        if self.monitoring is not None:
            found[MONITORING_KEY] = self.monitoring()
        return found
