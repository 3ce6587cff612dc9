"""A node's ended span as its final row: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from opentelemetry.trace import StatusCode

from pipespan.model import semconv
from pipespan.model.rows import NodeRow
from pipespan.model.status import NODE_LEVELS, TERMINAL_STATUSES, Status
from pipespan.otel.convert import clean_value

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pipespan.otel.ports import NodeIdentity

_COLUMNS: Final = frozenset(
    {
        semconv.EXPERIMENT_ID,
        semconv.JOB_ID,
        semconv.STAGE,
        semconv.ATTEMPT,
        semconv.PIPELINE_NAME,
        semconv.ERROR_TYPE,
        semconv.PROGRESS_COMPLETED,
        semconv.PROGRESS_TOTAL,
        semconv.PROGRESS_UNIT,
        semconv.PROGRESS_MESSAGE,
    }
)


@dataclass(frozen=True, slots=True)
class StampedIdentity:
    """The node that a record names in its attributes."""

    experiment_id: str
    job_id: str
    node_id: str


def identity_of_attributes(attributes: Mapping[str, Any]) -> NodeIdentity | None:
    """Return the node that `attributes` name in full, else None."""
    experiment_id = attributes.get(semconv.EXPERIMENT_ID)
    job_id = attributes.get(semconv.JOB_ID)
    node_id = attributes.get(semconv.NODE_ID)
    if isinstance(experiment_id, str) and isinstance(job_id, str) and isinstance(node_id, str):
        return StampedIdentity(experiment_id, job_id, node_id)
    return None


def node_row_from_span(span: ReadableSpan) -> NodeRow | None:
    """Return the final row of a node's span; None for a span that is not one, or whose identity was evicted.

    Without an attribute the trace id is the experiment's. The version is just below the end time, so that the row
    of the process that owns the node, which knows more, is the newer one.
    """
    attributes: Mapping[str, Any] = span.attributes or {}
    node_id, level = attributes.get(semconv.NODE_ID), attributes.get(semconv.NODE_LEVEL)
    ids = span.get_span_context()
    experiment_id = _text(attributes.get(semconv.EXPERIMENT_ID))
    if experiment_id is None and ids is not None:
        experiment_id = str(UUID(int=ids.trace_id))
    if experiment_id is None or not isinstance(node_id, str) or level not in NODE_LEVELS:
        return None
    parent_id = attributes.get(semconv.NODE_PARENT_ID)
    return NodeRow(
        experiment_id=experiment_id,
        node_id=node_id,
        node_level=level,
        parent_id=parent_id if isinstance(parent_id, str) else (node_id.rpartition("/")[0] or None),
        node_name=str(attributes.get(semconv.NODE_NAME) or span.name),
        status=_status(span, attributes),
        completed_units=_integer(attributes.get(semconv.PROGRESS_COMPLETED)) or 0,
        total_units=_integer(attributes.get(semconv.PROGRESS_TOTAL)),
        unit=_text(attributes.get(semconv.PROGRESS_UNIT)),
        weight=_number(attributes.get(semconv.NODE_WEIGHT)),
        message=_text(attributes.get(semconv.PROGRESS_MESSAGE)) or span.status.description,
        error_type=_text(attributes.get(semconv.ERROR_TYPE)),
        start_time=span.start_time,
        end_time=span.end_time,
        metadata=_metadata(attributes),
        trace_id=f"{ids.trace_id:032x}" if ids is not None else None,
        span_id=f"{ids.span_id:016x}" if ids is not None else None,
        job_id=_text(attributes.get(semconv.JOB_ID)),
        attempt=_integer(attributes.get(semconv.ATTEMPT)) or 1,
        version=(span.end_time or span.start_time or 1) - 1,
    )


def _status(span: ReadableSpan, attributes: Mapping[str, Any]) -> Status:
    recorded = attributes.get(semconv.NODE_STATUS)
    for status in TERMINAL_STATUSES:
        if status == recorded:
            return status
    if span.end_time is None:
        return "running"
    return "failed" if span.status.status_code is StatusCode.ERROR else "completed"


def _metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    metadata = clean_value(attributes.get(semconv.NODE_METADATA))
    rest = {
        key: clean_value(value)
        for key, value in attributes.items()
        if key not in _COLUMNS and not key.startswith(semconv.NODE_PREFIX)
    }
    return {**rest, **metadata} if isinstance(metadata, dict) else rest


def _integer(value: Any) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < 2**63 else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value >= 0 else 1.0


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
