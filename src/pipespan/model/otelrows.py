"""Rows of log records and spans, from the parts that the SDK's objects and OTLP messages have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from pipespan.model import semconv
from pipespan.model.attributes import json_text, plain_text
from pipespan.model.clean import clean_value
from pipespan.model.rows import LogRow, NodeRow
from pipespan.model.status import NODE_LEVELS, TERMINAL_STATUSES, Status, level_of_severity


class Identity(Protocol):
    """Names the node that a record belongs to."""

    @property
    def experiment_id(self) -> str:
        """UUID of the experiment."""

    @property
    def job_id(self) -> str | None:
        """UUID of the job."""

    @property
    def node_id(self) -> str | None:
        """Path of the node from the root."""


@dataclass(frozen=True, slots=True)
class LogParts:
    """A log record of OpenTelemetry.

    Attributes:
        scope_name: the logger's name.
        timestamp: when it happened, else when it was observed; nanoseconds.
        severity_number: 0 to 24.
        body: any value.
        attributes: any values by name.
        event_name: what kind of event it is, when it is one.
        trace_id: 32 hex digits, None without a trace.
        span_id: 16 hex digits, None without a span.
    """

    scope_name: str
    timestamp: int
    severity_number: int
    body: Any
    attributes: Mapping[str, Any]
    event_name: str | None
    trace_id: str | None
    span_id: str | None


STAMPS: Final = frozenset(
    {
        semconv.EXPERIMENT_ID,
        semconv.JOB_ID,
        semconv.NODE_ID,
        semconv.STAGE,
        semconv.PROCESS_PID,
        semconv.EXCEPTION_TYPE,
        semconv.EXCEPTION_MESSAGE,
        semconv.EXCEPTION_STACKTRACE,
        semconv.PERFORMANCE,
    }
)
"""Attributes of a log record that a row has a column for, or does not need."""

_PERFORMANCE_PREFIX: Final = semconv.PERFORMANCE + "."


def log_row_of_parts(node: Identity, parts: LogParts) -> LogRow:
    """Return the row of a log record."""
    context, performance = _split(parts.attributes)
    if parts.event_name:
        context.setdefault("event.name", plain_text(parts.event_name))
    return LogRow(
        node.experiment_id,
        node.job_id,
        node.node_id,
        parts.timestamp,
        level_of_severity(parts.severity_number),
        parts.severity_number,
        parts.scope_name,
        _body_text(parts),
        context or None,
        text_of(parts.attributes.get(semconv.EXCEPTION_STACKTRACE)),
        text_of(parts.attributes.get(semconv.EXCEPTION_TYPE)),
        performance,
        parts.trace_id,
        parts.span_id,
    )


def performance_of(value: Any) -> dict[str, Any]:
    """Return the column `performance` of a clean attribute."""
    return value if isinstance(value, dict) else {"value": value}


def _split(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    context: dict[str, Any] = {}
    performance: dict[str, Any] | None = None
    for key, value in attributes.items():
        if key == semconv.PERFORMANCE:
            performance = {**(performance or {}), **performance_of(clean_value(value))}
        elif key.startswith(_PERFORMANCE_PREFIX):
            performance = {**(performance or {}), key[len(_PERFORMANCE_PREFIX) :]: clean_value(value)}
        elif key not in STAMPS:
            context[key] = clean_value(value)
    return context, performance


def _body_text(parts: LogParts) -> str:
    body = parts.body
    if isinstance(body, str):
        return body
    if body is None:
        return text_of(parts.attributes.get(semconv.EXCEPTION_MESSAGE)) or parts.event_name or ""
    return str(body) if isinstance(body, bool | int | float) else json_text(body)


def text_of(value: Any) -> str | None:
    """Return an attribute as text, None for none."""
    return value if value is None or isinstance(value, str) else str(value)


@dataclass(frozen=True, slots=True)
class SpanParts:
    """A span of OpenTelemetry.

    Attributes:
        name: of the span.
        attributes: any values by name.
        is_error: whether its status says so.
        description: of the status.
        start_time: nanoseconds.
        end_time: nanoseconds, None while it runs.
        trace_id: as a number; 0 for none.
        span_id: as a number; 0 for none.
    """

    name: str
    attributes: Mapping[str, Any]
    is_error: bool
    description: str | None
    start_time: int | None
    end_time: int | None
    trace_id: int
    span_id: int


_NODE_COLUMNS: Final = frozenset(
    {
        semconv.EXPERIMENT_ID,
        semconv.JOB_ID,
        semconv.STAGE,
        semconv.ATTEMPT,
        semconv.PIPELINE_NAME,
        semconv.EXPERIMENT_PARAMS,
        semconv.EXPERIMENT_TAGS,
        semconv.ERROR_TYPE,
        semconv.PROGRESS_COMPLETED,
        semconv.PROGRESS_TOTAL,
        semconv.PROGRESS_UNIT,
        semconv.PROGRESS_MESSAGE,
    }
)


def node_row_of_parts(span: SpanParts) -> NodeRow | None:
    """Return the final row of a node's span; None for a span that is not one, or whose identity was evicted.

    Without an attribute the trace id is the experiment's. The version is just below the end time, so that the row
    of the process that owns the node, which knows more, is the newer one.
    """
    attributes = span.attributes
    node_id, level = attributes.get(semconv.NODE_ID), attributes.get(semconv.NODE_LEVEL)
    experiment_id = text_of(attributes.get(semconv.EXPERIMENT_ID))
    if experiment_id is None and span.trace_id:
        experiment_id = str(UUID(int=span.trace_id))
    if experiment_id is None or not isinstance(node_id, str) or level not in NODE_LEVELS:
        return None
    parent_id = attributes.get(semconv.NODE_PARENT_ID)
    return NodeRow(
        experiment_id=experiment_id,
        node_id=node_id,
        node_level=level,
        parent_id=parent_id if isinstance(parent_id, str) else (node_id.rpartition("/")[0] or None),
        node_name=str(attributes.get(semconv.NODE_NAME) or span.name),
        status=status_of_span(span),
        completed_units=_integer(attributes.get(semconv.PROGRESS_COMPLETED)) or 0,
        total_units=_integer(attributes.get(semconv.PROGRESS_TOTAL)),
        unit=text_of(attributes.get(semconv.PROGRESS_UNIT)),
        weight=_number(attributes.get(semconv.NODE_WEIGHT)),
        message=text_of(attributes.get(semconv.PROGRESS_MESSAGE)) or span.description,
        error_type=text_of(attributes.get(semconv.ERROR_TYPE)),
        start_time=span.start_time,
        end_time=span.end_time,
        metadata=_metadata(attributes),
        trace_id=f"{span.trace_id:032x}" if span.trace_id else None,
        span_id=f"{span.span_id:016x}" if span.span_id else None,
        job_id=text_of(attributes.get(semconv.JOB_ID)),
        attempt=_integer(attributes.get(semconv.ATTEMPT)) or 1,
        version=(span.end_time or span.start_time or 1) - 1,
    )


def status_of_span(span: SpanParts) -> Status:
    """Return the node's status that a span tells of."""
    recorded = span.attributes.get(semconv.NODE_STATUS)
    for status in TERMINAL_STATUSES:
        if status == recorded:
            return status
    if span.end_time is None:
        return "running"
    return "failed" if span.is_error else "completed"


def _metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    metadata = clean_value(attributes.get(semconv.NODE_METADATA))
    rest = {
        key: clean_value(value)
        for key, value in attributes.items()
        if key not in _NODE_COLUMNS and not key.startswith(semconv.NODE_PREFIX)
    }
    return {**rest, **metadata} if isinstance(metadata, dict) else rest


def _integer(value: Any) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < 2**63 else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value >= 0 else 1.0
