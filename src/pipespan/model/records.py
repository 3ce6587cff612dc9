"""What a reader gets: the rows as the tables hold them, with the columns that the database adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipespan.model.status import LogLevel, NodeLevel, Status


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """A row of `experiments`."""

    id: str
    name: str
    status: Status
    params: Mapping[str, Any]
    tags: Sequence[str]
    command: str | None
    host: str | None
    user_name: str | None
    git_commit: str | None
    started_at: datetime | None
    ended_at: datetime | None
    trace_id: str | None
    attempt: int
    version: int
    error_count: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A row of `processing_jobs`."""

    id: str
    experiment_id: str
    attempt: int
    parent_job_id: str | None
    host: str
    boot_id: str | None
    pid: int
    process_started_at: datetime | None
    status: Status
    cause: str | None
    exit_code: int | None
    exit_signal: int | None
    evidence: Mapping[str, Any]
    command: str | None
    started_at: datetime
    heartbeat_at: datetime
    progress_at: datetime
    ended_at: datetime | None
    log_messages: Sequence[str]
    version: int


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A row of `pipeline_progress`.

    `progress_percent` (0 to 100) follows from the node's own units, else from its children.
    `child_weight`, `child_sum` and `child_reached` are the stored sums over children (see
    `pipespan.model.tree.rollup`): weight in thousandths, and weight in thousandths times parts per billion, with an
    ended child counting whole or as far as it truly came.
    """

    experiment_id: str
    node_id: str
    node_level: NodeLevel
    parent_id: str | None
    node_name: str
    status: Status
    progress_percent: float
    completed_units: int
    total_units: int | None
    unit: str | None
    weight: float
    message: str | None
    error_type: str | None
    start_time: datetime | None
    end_time: datetime | None
    metadata: Mapping[str, Any]
    trace_id: str | None
    span_id: str | None
    job_id: str | None
    attempt: int
    version: int
    child_weight: int
    child_sum: int
    child_reached: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A row of `pipeline_logs`; `id` rises in the order of arrival.

    `fingerprint` is equal for errors of one cause (`pipespan.model.fingerprint`), None below ERROR.
    """

    id: int
    experiment_id: str
    job_id: str | None
    node_id: str | None
    timestamp: datetime
    level: LogLevel
    severity_number: int
    logger_name: str
    message: str
    context: Mapping[str, Any] | None
    traceback: str | None
    error_type: str | None
    performance: Mapping[str, Any] | None
    trace_id: str | None
    span_id: str | None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A row of `pipeline_events`."""

    id: int
    experiment_id: str
    job_id: str | None
    node_id: str | None
    event_type: str
    source: str
    severity: LogLevel
    title: str
    details: Mapping[str, Any]
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """A row of `pipeline_metrics`."""

    id: int
    experiment_id: str
    job_id: str | None
    node_id: str | None
    timestamp: datetime
    memory_mb: float | None
    cpu_percent: float | None
    disk_usage_mb: float | None
    throughput_per_sec: float | None
    custom_metrics: Mapping[str, Any] | None
