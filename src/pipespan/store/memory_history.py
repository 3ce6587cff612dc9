"""Runs of phases, their trends, and resources over time, from rows: what functions of SQL compute in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.rows import ExperimentRow, LogRow, MetricRow, NodeRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NS_PER_S: Final = 1e9
_BYTES_PER_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class History:
    """The rows of all experiments."""

    experiments: Sequence[ExperimentRow]
    nodes: Sequence[NodeRow]
    logs: Sequence[LogRow]

    def runs(self, pipeline: str, phase: str | None, limit: int) -> list[PhaseRun]:
        raise NotImplementedError

    def trends(self, pipeline: str, phase: str | None, last: int) -> list[Trend]:
        raise NotImplementedError

    def throughput(self, experiment_id: str) -> list[Throughput]:
        raise NotImplementedError


def resource_timeline(samples: Sequence[MetricRow], points: int) -> list[TimelinePoint]:
    raise NotImplementedError
