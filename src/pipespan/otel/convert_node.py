"""A node's ended span as its final row: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from pipespan.model import semconv
from pipespan.model.otelrows import SpanParts, node_row_of_parts
from pipespan.model.rows import NodeRow

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pipespan.otel.ports import NodeIdentity


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
    """Return the final row of a node's span; see `node_row_of_parts`."""
    ids = span.get_span_context()
    return node_row_of_parts(
        SpanParts(
            name=span.name,
            attributes=span.attributes or {},
            is_error=span.status.status_code is StatusCode.ERROR,
            description=span.status.description,
            start_time=span.start_time,
            end_time=span.end_time,
            trace_id=ids.trace_id if ids is not None else 0,
            span_id=ids.span_id if ids is not None else 0,
        )
    )
