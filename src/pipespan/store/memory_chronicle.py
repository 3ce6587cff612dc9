"""The part of the store in memory that implements `pipespan.store.chronicle.Chronicle`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Final, TypeVar

from pipespan.model.attributes import plain_text
from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.records import EventRecord, ExperimentRecord, MetricRecord
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, Row
from pipespan.model.status import LOG_LEVELS, levels_at_least
from pipespan.store.chronicle import EventFilter, ExperimentFilter, MetricFilter, Snapshot
from pipespan.store.memory_history import History, resource_timeline
from pipespan.store.memory_records import record_values

GrowingT = TypeVar("GrowingT", EventRow, MetricRow)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class MemoryChronicle:
    """Answers from the rows that the store holds."""

    _clock: Callable[[], datetime]
    _turn: threading.RLock
    _experiments: dict[str, ExperimentRow]
    _jobs: dict[str, JobRow]
    _nodes: dict[tuple[str, str], NodeRow]
    _logs: list[LogRow]
    _events: list[EventRow]
    _metrics: list[MetricRow]
    _errors: Counter[str]

    def _newest_experiments(self, rows: Iterable[ExperimentRow], limit: int) -> list[ExperimentRecord]:
        raise NotImplementedError

    def _below(self, experiment_id: str, node_id: str) -> Callable[[str | None], bool]:
        raise NotImplementedError

    def select_experiments(self, wanted: ExperimentFilter, *, limit: int) -> list[ExperimentRecord]:
        """See `Chronicle.select_experiments`."""
        name = _text(wanted.name)
        tag = _text(wanted.tag)
        found = [
            row
            for row in self._experiments.values()
            if (name is None or row.name == name)
            and (wanted.status is None or row.status == wanted.status)
            and (tag is None or tag in row.tags)
            and is_within(row.started_at, wanted.since, wanted.until)
        ]
        return self._newest_experiments(found, limit)

    def events(
        self, experiment_id: str, *, limit: int, wanted: EventFilter | None = None
    ) -> list[EventRecord]:
        """See `Chronicle.events`."""
        wanted = wanted or EventFilter()
        event_type = _text(wanted.event_type)
        severities = LOG_LEVELS if wanted.severity is None else levels_at_least(wanted.severity)
        rows = [
            (number, row)
            for number, row in enumerate(self._events, start=1)
            if (event_type is None or row.event_type == event_type) and row.severity in severities
        ]
        found = self._chosen(rows, experiment_id, wanted, limit)
        return [EventRecord(id=number, **record_values(row)) for number, row in found]

    def metrics(
        self, experiment_id: str, *, limit: int, wanted: MetricFilter | None = None
    ) -> list[MetricRecord]:
        """See `Chronicle.metrics`."""
        rows = list(enumerate(self._metrics, start=1))
        found = self._chosen(rows, experiment_id, wanted or MetricFilter(), limit)
        return [MetricRecord(id=number, **record_values(row)) for number, row in found]

    def phase_history(self, pipeline: str, phase: str | None, *, limit: int) -> list[PhaseRun]:
        """See `Chronicle.phase_history`."""
        return self._history().runs(plain_text(pipeline), _text(phase), limit)

    def phase_trends(self, pipeline: str, phase: str | None, *, last: int) -> list[Trend]:
        """See `Chronicle.phase_trends`."""
        return self._history().trends(plain_text(pipeline), _text(phase), last)

    def resource_timeline(
        self, experiment_id: str, *, points: int, node_id: str | None = None
    ) -> list[TimelinePoint]:
        """See `Chronicle.resource_timeline`."""
        with self._turn:
            below = None if node_id is None else self._below(experiment_id, plain_text(node_id))
            samples = [
                row
                for row in self._metrics
                if row.experiment_id == experiment_id and (below is None or below(row.node_id))
            ]
        return resource_timeline(samples, points)

    def node_throughput(self, experiment_id: str) -> list[Throughput]:
        """See `Chronicle.node_throughput`."""
        return self._history().throughput(experiment_id)

    def experiments_of_jobs(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        """See `Chronicle.experiments_of_jobs`."""
        with self._turn:
            return {known: self._jobs[known].experiment_id for known in job_ids if known in self._jobs}

    @contextmanager
    def snapshot(self, experiment_id: str) -> Generator[Snapshot, None, None]:
        """See `Chronicle.snapshot`."""
        with self._turn:
            experiment = self._experiments.get(experiment_id)
            error_count = self._errors[experiment_id] if experiment is not None else 0
            rows = [] if experiment is None else [experiment, *self._rows_of(experiment_id)]
        yield Snapshot(error_count, iter(rows))

    def _history(self) -> History:
        with self._turn:
            return History(
                list(self._experiments.values()), list(self._nodes.values()), list(self._logs), self._clock()
            )

    def _rows_of(self, experiment_id: str) -> Iterator[Row]:
        def mine(rows: Iterable[Row]) -> Iterator[Row]:
            return (row for row in rows if getattr(row, "experiment_id", None) == experiment_id)

        yield from sorted(mine(self._jobs.values()), key=attrgetter("started_at", "id"))
        yield from mine(self._nodes.values())
        for rows in (self._logs, self._events, self._metrics):
            yield from sorted(mine(rows), key=attrgetter("timestamp"))  # stable: then in order of arrival

    def _chosen(
        self,
        rows: Iterable[tuple[int, GrowingT]],
        experiment_id: str,
        wanted: EventFilter | MetricFilter,
        limit: int,
    ) -> list[tuple[int, GrowingT]]:
        with self._turn:
            below = None if wanted.node_id is None else self._below(experiment_id, plain_text(wanted.node_id))
        found = [
            (number, row)
            for number, row in rows
            if row.experiment_id == experiment_id
            and is_within(row.timestamp, wanted.since, wanted.until)
            and (below is None or below(row.node_id))
        ]
        if wanted.after_id is not None:
            newer = [(number, row) for number, row in found if number > wanted.after_id]
            return newer[: max(0, limit)]
        found.sort(key=lambda numbered: (numbered[1].timestamp, numbered[0]))
        return found[-limit:] if limit > 0 else []


def _text(value: str | None) -> str | None:
    return None if value is None else plain_text(value)


def is_within(unix_ns: int, since: datetime | None, until: datetime | None) -> bool:
    """Tell whether a time is not before `since` and before `until`, where they are given."""
    if since is None and until is None:
        return True
    moment = _EPOCH + timedelta(microseconds=unix_ns // 1000)
    return (since is None or moment >= since) and (until is None or moment < until)
