"""Runs of phases, their trends, and resources over time, from rows: what functions of SQL compute in Postgres."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pipespan.errors import RefusedError
from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.rows import ExperimentRow, LogRow, MetricRow, NodeRow
from pipespan.model.status import ERROR_LEVELS, TERMINAL_STATUSES

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NS_PER_S: Final = 1e9
_BYTES_PER_MB: Final = 1e6

_MEASURES: Final[Mapping[str, Callable[[PhaseRun], float | None]]] = {
    "duration_s": lambda run: run.duration_s if run.status == "completed" else None,
    "peak_memory_mb": lambda run: run.peak_memory_mb if run.status == "completed" else None,
    "cpu_s": lambda run: run.cpu_s if run.status == "completed" else None,
    "errors": lambda run: float(run.error_count) if run.status in TERMINAL_STATUSES else None,
}


@dataclass(frozen=True, slots=True)
class History:
    """The rows of all experiments, nodes in order of creation, at an instant."""

    experiments: Sequence[ExperimentRow]
    nodes: Sequence[NodeRow]
    logs: Sequence[LogRow]
    now: datetime

    def runs(self, pipeline: str, phase: str | None, limit: int) -> list[PhaseRun]:
        """See `Chronicle.phase_history`: a phase hangs below a root; one node is also found by its id."""
        mine = {one.id: one for one in self.experiments if one.name == pipeline}
        newest = sorted(
            ((place, node) for place, node in enumerate(self.nodes) if node.experiment_id in mine),
            key=lambda placed: (placed[1].start_time is not None, placed[1].start_time or 0, placed[0]),
            reverse=True,
        )
        roots = {(node.experiment_id, node.node_id) for _, node in newest if node.parent_id is None}
        told: Counter[str] = Counter()
        found = []
        for _, node in newest:
            if node.node_id == phase or _is_phase(node, phase, roots):
                told[node.node_id] += 1
                if told[node.node_id] <= limit:
                    found.append(self._run(mine[node.experiment_id], node))
        return found

    def trends(self, pipeline: str, phase: str | None, last: int) -> list[Trend]:
        """See `Chronicle.phase_trends`: time, memory and CPU of completed runs, errors of all that are over."""
        by_node: dict[str, list[PhaseRun]] = {}
        for run in self.runs(pipeline, phase, last):
            by_node.setdefault(run.node_id, []).append(run)
        found = []
        for node_id, runs in sorted(by_node.items()):
            runs.sort(key=lambda run: (run.start_time is None, run.start_time or _EPOCH, run.experiment_id))
            for measure, value_of in _MEASURES.items():
                values = [value for run in runs if (value := value_of(run)) is not None]
                if values:
                    found.append(_trend(node_id, measure, values))
        return found

    def throughput(self, experiment_id: str) -> list[Throughput]:
        """See `Chronicle.node_throughput`."""
        working = [
            one for one in self.nodes if one.experiment_id == experiment_id and one.completed_units > 0
        ]
        working.sort(key=lambda node: (node.start_time is None, node.start_time or 0))
        return [
            Throughput(
                node.node_id, node.completed_units, node.unit, self._duration_s(node), self._rate(node)
            )
            for node in working
        ]

    def _run(self, experiment: ExperimentRow, node: NodeRow) -> PhaseRun:
        resources = node.metadata.get("resources")
        used: Mapping[str, Any] = resources if isinstance(resources, Mapping) else {}
        return PhaseRun(
            experiment_id=experiment.id,
            experiment_name=experiment.name,
            node_id=node.node_id,
            node_name=node.node_name,
            node_level=node.node_level,
            attempt=node.attempt,
            status=node.status,
            start_time=_moment(node.start_time),
            end_time=_moment(node.end_time),
            duration_s=self._duration_s(node),
            peak_memory_mb=_figure(used.get("memory_peak_bytes"), _BYTES_PER_MB),
            cpu_s=_figure(used.get("cpu_ns"), _NS_PER_S),
            completed_units=node.completed_units,
            throughput_per_s=self._rate(node),
            error_count=sum(1 for _ in self._errors_within(node)),
        )

    def _errors_within(self, node: NodeRow) -> Iterator[LogRow]:
        for row in self.logs:
            if row.experiment_id != node.experiment_id or row.level not in ERROR_LEVELS:
                continue
            place = row.node_id or ""
            if place == node.node_id or place.startswith(f"{node.node_id}/"):
                yield row

    def _duration_s(self, node: NodeRow) -> float | None:
        if node.start_time is None:
            return None
        end = _moment(node.end_time)
        if end is None and node.status in TERMINAL_STATUSES:
            return None
        return ((end or self.now) - (_moment(node.start_time) or self.now)).total_seconds()

    def _rate(self, node: NodeRow) -> float | None:
        duration_s = self._duration_s(node)
        return node.completed_units / duration_s if duration_s else None


def resource_timeline(samples: Sequence[MetricRow], points: int) -> list[TimelinePoint]:
    """See `Chronicle.resource_timeline`, for the samples that are wanted."""
    if points < 1:
        raise RefusedError(f"{points} points are not possible; give at least 1")
    if not samples:
        return []
    times_us = [row.timestamp // 1000 for row in samples]
    first_us = min(times_us)
    width_us = max(round((max(times_us) - first_us) / points), 1)
    groups: dict[tuple[int, str | None], list[MetricRow]] = {}
    for row, at_us in zip(samples, times_us, strict=True):
        place = min((at_us - first_us) // width_us, points - 1)
        groups.setdefault((place, row.job_id), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] is None, group[0][1] or ""))
    return [
        TimelinePoint(
            bucket_start=_EPOCH + timedelta(microseconds=first_us + place * width_us),
            job_id=job_id,
            samples=len(rows),
            memory_mb=max(_known(row.memory_mb for row in rows), default=None),
            cpu_percent=_mean(_known(row.cpu_percent for row in rows)),
            disk_usage_mb=max(_known(row.disk_usage_mb for row in rows), default=None),
            throughput_per_sec=_mean(_known(row.throughput_per_sec for row in rows)),
        )
        for (place, job_id), rows in ordered
    ]


def _is_phase(node: NodeRow, phase: str | None, roots: set[tuple[str, str]]) -> bool:
    if node.node_level != "phase" or node.parent_id is None:
        return False
    return (node.experiment_id, node.parent_id) in roots and phase in (None, node.node_name)


def _trend(node_id: str, measure: str, values: Sequence[float]) -> Trend:
    ranked = sorted(values)
    return Trend(
        node_id=node_id,
        measure=measure,
        runs=len(values),
        min=ranked[0],
        mean=math.fsum(values) / len(values),
        median=_quantile(ranked, 0.5),
        p90=_quantile(ranked, 0.9),
        max=ranked[-1],
        last=tuple(values),
    )


def _quantile(ranked: Sequence[float], share: float) -> float:
    """Return the value at a share of the way through, between two values a part of both."""
    place = share * (len(ranked) - 1)
    below = math.floor(place)
    above = math.ceil(place)
    return ranked[below] + (place - below) * (ranked[above] - ranked[below])


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _figure(value: Any, divisor: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value / divisor if is_number else None


def _moment(unix_ns: int | None) -> datetime | None:
    return None if unix_ns is None else _EPOCH + timedelta(microseconds=unix_ns // 1000)
