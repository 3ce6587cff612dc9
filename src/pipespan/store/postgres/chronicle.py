"""The part of the reading side that implements `pipespan.store.chronicle.Chronicle`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

from pipespan.model.attributes import plain_text
from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.records import EventRecord, ExperimentRecord, MetricRecord
from pipespan.model.status import levels_at_least
from pipespan.store.chronicle import EventFilter, ExperimentFilter, MetricFilter, Snapshot

ResultT = TypeVar("ResultT")

MAX_LIMIT: Final = 2**63 - 1
"""What stands for any higher limit: a `bigint`."""

_MAX_COUNT: Final = 2**31 - 1
"""What stands for any higher number that a function takes: an `integer`."""


class ChronicleReaders:
    """Named queries in, records out; asks through the source that it is a part of."""

    def _all(self, query: str, build: Callable[..., ResultT], values: Mapping[str, Any]) -> list[ResultT]:
        raise NotImplementedError

    def _of_experiment(
        self,
        query: str,
        build: Callable[..., ResultT],
        experiment_id: str,
        values: Mapping[str, Any] | None = None,
    ) -> list[ResultT]:
        raise NotImplementedError

    def _open_snapshot(self, experiment_id: uuid.UUID) -> AbstractContextManager[Snapshot]:
        raise NotImplementedError

    def select_experiments(self, wanted: ExperimentFilter, *, limit: int) -> list[ExperimentRecord]:
        """See `Chronicle.select_experiments`."""
        values = {
            "name": _text(wanted.name),
            "status": _text(wanted.status),
            "tag": _text(wanted.tag),
            "since": wanted.since,
            "until": wanted.until,
            "limit": bounded(limit),
        }
        return self._all("select_experiments", ExperimentRecord, values)

    def events(
        self, experiment_id: str, *, limit: int, wanted: EventFilter | None = None
    ) -> list[EventRecord]:
        """See `Chronicle.events`."""
        wanted = wanted or EventFilter()
        severities = None if wanted.severity is None else list(levels_at_least(wanted.severity))
        values = {"event_type": _text(wanted.event_type), "severities": severities}
        return self._newest_or_after("events", EventRecord, experiment_id, wanted, values, limit)

    def metrics(
        self, experiment_id: str, *, limit: int, wanted: MetricFilter | None = None
    ) -> list[MetricRecord]:
        """See `Chronicle.metrics`."""
        return self._newest_or_after(
            "metrics", MetricRecord, experiment_id, wanted or MetricFilter(), {}, limit
        )

    def phase_history(self, pipeline: str, phase: str | None, *, limit: int) -> list[PhaseRun]:
        """See `Chronicle.phase_history`."""
        values = {"pipeline": plain_text(pipeline), "phase": _text(phase), "limit": _count(limit)}
        return self._all("phase_history", PhaseRun, values)

    def phase_trends(self, pipeline: str, phase: str | None, *, last: int) -> list[Trend]:
        """See `Chronicle.phase_trends`."""
        values = {"pipeline": plain_text(pipeline), "phase": _text(phase), "last": _count(last)}
        return self._all("phase_trends", _trend, values)

    def resource_timeline(
        self, experiment_id: str, *, points: int, node_id: str | None = None
    ) -> list[TimelinePoint]:
        """See `Chronicle.resource_timeline`."""
        values = {"points": _count(points), "node_id": _text(node_id)}
        return self._of_experiment("resource_timeline", TimelinePoint, experiment_id, values)

    def node_throughput(self, experiment_id: str) -> list[Throughput]:
        """See `Chronicle.node_throughput`."""
        return self._of_experiment("node_throughput", Throughput, experiment_id)

    def experiments_of_jobs(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        """See `Chronicle.experiments_of_jobs`."""
        return dict(self._all("experiments_of_jobs", _pair, {"job_ids": list(job_ids)}))

    @contextmanager
    def snapshot(self, experiment_id: str) -> Generator[Snapshot, None, None]:
        """See `Chronicle.snapshot`; uses a connection of its own, so that others may ask meanwhile."""
        try:
            known = uuid.UUID(experiment_id)
        except ValueError:
            yield Snapshot(0, iter(()))
            return
        with self._open_snapshot(known) as found:
            yield found

    def _newest_or_after(
        self,
        query: str,
        build: Callable[..., ResultT],
        experiment_id: str,
        wanted: EventFilter | MetricFilter,
        values: Mapping[str, Any],
        limit: int,
    ) -> list[ResultT]:
        values = {
            **values,
            "node_id": _text(wanted.node_id),
            "since": wanted.since,
            "until": wanted.until,
            "limit": bounded(limit),
        }
        if wanted.after_id is None:
            return self._of_experiment(query, build, experiment_id, values)[::-1]
        values["after_id"] = bounded(wanted.after_id)
        return self._of_experiment(f"{query}_after", build, experiment_id, values)


def bounded(number: int) -> int:
    """Return `number` as a `bigint` that is not negative."""
    return max(0, min(number, MAX_LIMIT))


def _count(number: int) -> int:
    return max(0, min(number, _MAX_COUNT))


def _text(value: str | None) -> str | None:
    return None if value is None else plain_text(value)


def _trend(*values: Any) -> Trend:
    found = list(values)
    found[-1] = tuple(found[-1])
    return Trend(*found)


def _pair(job_id: str, experiment_id: str) -> tuple[str, str]:
    return job_id, experiment_id
