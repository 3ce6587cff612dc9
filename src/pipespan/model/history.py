"""What a reader gets of many runs, or of a run over time: rows of the functions of the same names in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipespan.model.status import NodeLevel, Status


@dataclass(frozen=True, slots=True)
class PhaseRun:
    """One run of a phase; a row of `get_phase_history`.

    Attributes:
        peak_memory_mb: the most memory that its process held meanwhile, in 10^6 bytes.
        cpu_s: CPU time of its process meanwhile.
        throughput_per_s: its own units a second.
        error_count: ERROR and CRITICAL log records of it and of all below it.
    """

    experiment_id: str
    experiment_name: str
    node_id: str
    node_name: str
    node_level: NodeLevel
    attempt: int
    status: Status
    start_time: datetime | None
    end_time: datetime | None
    duration_s: float | None
    peak_memory_mb: float | None
    cpu_s: float | None
    completed_units: int
    throughput_per_s: float | None
    error_count: int


@dataclass(frozen=True, slots=True)
class Trend:
    """How one measure of a phase went over its last runs; a row of `get_phase_trends`.

    Attributes:
        measure: `duration_s`, `peak_memory_mb`, `cpu_s` or `errors`.
        runs: how many runs have the measure.
        last: their values, oldest first.
    """

    node_id: str
    measure: str
    runs: int
    min: float | None
    mean: float | None
    median: float | None
    p90: float | None
    max: float | None
    last: Sequence[float]


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """What one process used during one stretch of time; a row of `get_resource_timeline`.

    Attributes:
        bucket_start: when the stretch begins; it lasts until the next one of the same timeline.
        samples: how many samples it sums up.
        memory_mb: the highest of them.
        cpu_percent: their mean, where 100 is one core.
        disk_usage_mb: the highest of them.
        throughput_per_sec: their mean.
    """

    bucket_start: datetime
    job_id: str | None
    samples: int
    memory_mb: float | None
    cpu_percent: float | None
    disk_usage_mb: float | None
    throughput_per_sec: float | None


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a node worked; a row of `get_node_throughput`."""

    node_id: str
    completed_units: int
    unit: str | None
    duration_s: float | None
    throughput_per_s: float | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that a node made: an event of the type `artifact`.

    Attributes:
        location: path or URI.
        kind: what it is, such as `parquet` or `model`.
        size_bytes: of a local file at the time.
        digest: as the program gave it.
        metadata: all else that the program said of it.
    """

    id: int
    experiment_id: str
    job_id: str | None
    node_id: str | None
    timestamp: datetime
    location: str
    kind: str | None
    size_bytes: int | None
    digest: str | None
    metadata: Mapping[str, Any]
