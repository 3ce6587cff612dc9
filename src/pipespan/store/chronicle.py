"""What a store can tell of events, metrics, many runs, and of one experiment as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pipespan.model.rows import Row
from pipespan.model.status import LogLevel, Status

if TYPE_CHECKING:
    from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
    from pipespan.model.records import EventRecord, ExperimentRecord, MetricRecord


@dataclass(frozen=True, slots=True)
class ExperimentFilter:
    """Which experiments to read; None means any.

    Attributes:
        name: exactly this name.
        status: exactly this recorded status.
        tag: one of its tags is exactly this.
        since: started not before this time.
        until: started before this time.
    """

    name: str | None = None
    status: Status | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read; None means any.

    Attributes:
        event_type: exactly this type.
        severity: this level and all more severe ones.
        node_id: this node and all below it.
        since: not before this time.
        until: before this time.
        after_id: only events with a higher id; then the oldest of those come, in order of id.
    """

    event_type: str | None = None
    severity: LogLevel | None = None
    node_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_id: int | None = None


@dataclass(frozen=True, slots=True)
class MetricFilter:
    """Which metric rows to read; the attributes are those of `EventFilter`."""

    node_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_id: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is stored of one experiment, at one instant.

    Attributes:
        error_count: the experiment's count of errors; more than it has records of when old ones were removed.
        rows: as writers wrote them, in the order of `pipespan.model.rows.ROW_TYPES`: jobs by start, nodes in order of
            creation, the rest in order of time. Empty when there is no such experiment.
    """

    error_count: int
    rows: Iterator[Row]


class Chronicle(Protocol):
    """The part of a `pipespan.store.base.Source` that clients ask beyond the state of one experiment."""

    def select_experiments(self, wanted: ExperimentFilter, *, limit: int) -> list[ExperimentRecord]:
        """Return the newest experiments that match, newest first."""

    def events(
        self, experiment_id: str, *, limit: int, wanted: EventFilter | None = None
    ) -> list[EventRecord]:
        """Return the newest events of an experiment in order of time, or after an id in order of id."""

    def metrics(
        self, experiment_id: str, *, limit: int, wanted: MetricFilter | None = None
    ) -> list[MetricRecord]:
        """Return the newest metric rows of an experiment in order of time, or after an id in order of id."""

    def phase_history(self, pipeline: str, phase: str | None, *, limit: int) -> list[PhaseRun]:
        """Return runs of the phases of all experiments called `pipeline`, newest first, at most `limit` of each phase.

        Args:
            pipeline: name of the experiments.
            phase: only the phases of this name, or the node of this id; None takes all phases.
            limit: at most so many of each node id.
        """

    def phase_trends(self, pipeline: str, phase: str | None, *, last: int) -> list[Trend]:
        """Return how each measure of each phase went over its `last` runs; the arguments are those of `phase_history`.

        Time, memory and CPU are those of completed runs, errors those of all that are over.
        """

    def resource_timeline(
        self, experiment_id: str, *, points: int, node_id: str | None = None
    ) -> list[TimelinePoint]:
        """Return what the processes of an experiment used, in at most `points` stretches of equal length."""

    def node_throughput(self, experiment_id: str) -> list[Throughput]:
        """Return how fast the nodes of an experiment worked that count units."""

    def experiments_of_jobs(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the experiment of each of these jobs that is known, by the job's id."""

    def snapshot(self, experiment_id: str) -> AbstractContextManager[Snapshot]:
        """Give all rows of an experiment as of one instant; its rows can be read within the block only."""
