"""Rows beside the tree: events, artifacts, metrics, announced children; pure but for looking at an artifact's size."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipespan.errors import UsageError
from pipespan.model.attributes import plain_text
from pipespan.model.rows import EventRow, MetricRow, NodeRow
from pipespan.model.status import LOG_LEVELS, LogLevel, child_level

if TYPE_CHECKING:
    from pipespan.record.node import Node
    from pipespan.record.parent import Parent

SOURCE: Final = "pipespan"
NOT_STARTED: Final = "was planned and never started"


def event_row(
    node: Parent, title: str, *, event_type: str, severity: LogLevel, details: Mapping[str, Any]
) -> EventRow:
    """Return an event of `node` that happens now.

    Raises:
        UsageError: the severity is none of the log levels.
    """
    if severity not in LOG_LEVELS:
        raise UsageError(f"unknown severity {severity!r}; use one of {', '.join(LOG_LEVELS)}")
    return EventRow(
        experiment_id=node.experiment_id,
        job_id=node.job_id,
        node_id=node.node_id,
        event_type=plain_text(str(event_type)),
        source=SOURCE,
        severity=severity,
        title=plain_text(str(title)),
        details=details,
        timestamp=time.time_ns(),
    )


def artifact_details(location: Any, kind: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of an artifact: where, kind, and of a local file its size in bytes."""
    text = str(location)
    details: dict[str, Any] = {"location": text}
    is_uri = "://" in text
    suffix = Path(text).suffix.removeprefix(".")
    details["kind"] = kind or suffix or ("uri" if is_uri else "file")
    if not is_uri:
        try:
            details["size_bytes"] = Path(text).stat().st_size
            details["location"] = str(Path(text).resolve())
        except (OSError, ValueError):
            details["is_missing"] = True
    return {**details, **metadata}


def metric_row(node: Parent, values: Mapping[str, Any]) -> MetricRow:
    """Return values that `node` measured now."""
    return MetricRow(
        experiment_id=node.experiment_id,
        job_id=node.job_id,
        node_id=node.node_id,
        timestamp=time.time_ns(),
        memory_mb=None,
        cpu_percent=None,
        disk_usage_mb=None,
        throughput_per_sec=None,
        custom_metrics=values,
    )


def planned_row(parent: Node, name: str, node_id: str, *, is_over: bool = False) -> NodeRow:
    """Return the row of an announced child of `parent`: pending, or cancelled when it can start no more."""
    now = time.time_ns()
    return NodeRow(
        experiment_id=parent.experiment_id,
        node_id=node_id,
        node_level=child_level(parent.level),
        parent_id=parent.node_id,
        node_name=plain_text(name),
        status="cancelled" if is_over else "pending",
        completed_units=0,
        total_units=None,
        unit=None,
        weight=1.0,
        message=NOT_STARTED if is_over else None,
        error_type=None,
        start_time=None,
        end_time=now if is_over else None,
        metadata={"planned": True},
        trace_id=parent.trace_id,
        span_id=None,
        job_id=parent.job_id,
        attempt=parent.experiment.attempt,
        version=now,
    )
