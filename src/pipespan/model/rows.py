"""The one inner format: what a writer hands on, one class per table, one field per column.

Field names are column names. A field's annotation is also its kind in the COPY encoding
(`pipespan.store.copytext`), so only the aliases below may be used. Rows are named tuples and not frozen
dataclasses like other values, because they are made on the hottest path: a third of the time to make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipespan.model.status import LogLevel, NodeLevel, Status

UnixNs = int
"""Wall time in nanoseconds since 1970-01-01 UTC; a `timestamptz` in the table."""

Uuid = str
"""A UUID in its canonical form of 36 characters."""

Json = Mapping[str, Any]
"""A `jsonb` object; any values are taken, odd ones are stored in a readable form."""

TextArray = Sequence[str]
"""A `text[]`."""


class ExperimentRow(NamedTuple):
    """One logical run of a pipeline, as its owner knows it.

    Attempt 0 and version 0 make a stub: it creates the experiment when nobody has, and changes nothing else.
    """

    id: Uuid
    name: str
    status: Status
    params: Json
    tags: TextArray
    command: str | None
    host: str | None
    user_name: str | None
    git_commit: str | None
    started_at: UnixNs
    ended_at: UnixNs | None
    trace_id: str | None
    attempt: int
    version: int


class JobRow(NamedTuple):
    """One process that works on an experiment: (host, boot id, pid, start time), never a pid alone."""

    id: Uuid
    experiment_id: Uuid
    attempt: int
    parent_job_id: Uuid | None
    host: str
    boot_id: str | None
    pid: int
    process_started_at: UnixNs | None
    status: Status
    cause: str | None
    exit_code: int | None
    exit_signal: int | None
    evidence: Json
    command: str | None
    started_at: UnixNs
    heartbeat_at: UnixNs
    progress_at: UnixNs
    ended_at: UnixNs | None
    log_messages: TextArray
    version: int


class NodeRow(NamedTuple):
    """A node of the tree at an instant: a whole snapshot, so that any single one can create the row.

    `completed_units` and `total_units` are the node's own; sums over children are the store's business.
    """

    experiment_id: Uuid
    node_id: str
    node_level: NodeLevel
    parent_id: str | None
    node_name: str
    status: Status
    completed_units: int
    total_units: int | None
    unit: str | None
    weight: float
    message: str | None
    error_type: str | None
    start_time: UnixNs | None
    end_time: UnixNs | None
    metadata: Json
    trace_id: str | None
    span_id: str | None
    job_id: Uuid | None
    attempt: int
    version: int


class LogRow(NamedTuple):
    """One log record."""

    experiment_id: Uuid
    job_id: Uuid | None
    node_id: str | None
    timestamp: UnixNs
    level: LogLevel
    severity_number: int
    logger_name: str
    message: str
    context: Json | None
    traceback: str | None
    error_type: str | None
    performance: Json | None
    trace_id: str | None
    span_id: str | None


class EventRow(NamedTuple):
    """Something worth telling that is neither progress nor a log line: an artifact, a death, an alarm."""

    experiment_id: Uuid
    job_id: Uuid | None
    node_id: str | None
    event_type: str
    source: str
    severity: LogLevel
    title: str
    details: Json
    timestamp: UnixNs


class MetricRow(NamedTuple):
    """One sample of a process's resources, or of what a node measured of itself."""

    experiment_id: Uuid
    job_id: Uuid | None
    node_id: str | None
    timestamp: UnixNs
    memory_mb: float | None
    cpu_percent: float | None
    disk_usage_mb: float | None
    throughput_per_sec: float | None
    custom_metrics: Json | None


class SpanNote(NamedTuple):
    """A span of another program: which one is above it. No table of its own for readers; it puts nodes in place.

    `is_node` is False for a span that a rule keeps out of the tree: what is below it belongs to what is above it.
    """

    experiment_id: Uuid
    span_id: str
    parent_span_id: str | None
    is_node: bool


Row = ExperimentRow | JobRow | NodeRow | LogRow | EventRow | MetricRow
RowType = type[ExperimentRow] | type[JobRow] | type[NodeRow] | type[LogRow] | type[EventRow] | type[MetricRow]

ROW_TYPES: Final[tuple[RowType, ...]] = (ExperimentRow, JobRow, NodeRow, LogRow, EventRow, MetricRow)
"""All row types, in the order in which a batch must write them (foreign keys point backwards)."""


TABLES: Final[Mapping[RowType, str]] = {
    ExperimentRow: "experiments",
    JobRow: "processing_jobs",
    NodeRow: "pipeline_progress",
    LogRow: "pipeline_logs",
    EventRow: "pipeline_events",
    MetricRow: "pipeline_metrics",
}


def columns(row_type: RowType) -> tuple[str, ...]:
    """Return the column names of a row type, in the order of its COPY line."""
    return row_type._fields


def column_kinds(row_type: RowType) -> list[tuple[str, bool]]:
    """Return for each column its kind, as the annotation names it, and whether it may be null."""
    annotations = row_type.__annotations__
    texts = [
        str(getattr(annotations[name], "__forward_arg__", annotations[name])) for name in columns(row_type)
    ]
    return [(text.removesuffix(" | None"), text.endswith(" | None")) for text in texts]


def time_columns(row_type: RowType) -> tuple[int, ...]:
    """Return the places of the columns of a row type that hold times."""
    return tuple(place for place, (kind, _) in enumerate(column_kinds(row_type)) if kind == "UnixNs")
