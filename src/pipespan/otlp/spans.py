"""Spans of OTLP as rows: pipespan's own by what they say, those of others by rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.clean import clean_value
from pipespan.model.otelrows import LogParts, SpanParts, log_row_of_parts, node_row_of_parts, text_of
from pipespan.model.rows import EventRow, ExperimentRow, NodeRow, Row
from pipespan.model.status import Status
from pipespan.otlp.decoded import Decoded, checked_time
from pipespan.otlp.origin import Origin, Place
from pipespan.otlp.ownspans import own_rows
from pipespan.otlp.rules import NodeRule
from pipespan.otlp.values import attributes_of, hex_id

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

EXCEPTION_EVENT: Final = "exception"
_ERROR: Final = 17
_STATUS_ERROR: Final = 2

FOREIGN_KEY: Final = "otel"
"""Key of a node's metadata that says: a span of another origin, whose place in the tree follows from its parent."""

_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")

_CICD_NAMES: Final = ("cicd.pipeline.task.name", "cicd.pipeline.name")
_CICD_RESULTS: Final = ("cicd.pipeline.task.run.result", "cicd.pipeline.result")
_CICD_STATUSES: Final[Mapping[str, Status]] = {
    "success": "completed",
    "skip": "cancelled",
    "cancellation": "cancelled",
    "failure": "failed",
    "error": "failed",
    "timeout": "failed",
}


@dataclass(frozen=True, slots=True)
class _Taken:
    """One span on its way."""

    span: Span
    scope: str
    attributes: Mapping[str, Any]
    trace_id: str
    span_id: str
    parent_id: str | None
    start: int
    end: int | None


def decode_spans(request: ExportTraceServiceRequest, rule: NodeRule) -> Decoded:
    """Return the rows of a message.

    Args:
        request: the message.
        rule: which spans of other origin become nodes.
    """
    decoded = Decoded()
    for resource_spans in request.resource_spans:
        origin = Origin(attributes_of(resource_spans.resource.attributes))
        found = Decoded()
        for scope_spans in resource_spans.scope_spans:
            scope = plain_text(scope_spans.scope.name)
            found.each(scope_spans.spans, partial(_take, scope=scope, origin=origin, rule=rule))
        decoded.rows += [*origin.rows(), *found.rows]
        decoded.rejected += found.rejected
        decoded.reasons += found.reasons
    return decoded


def _take(span: Span, *, scope: str, origin: Origin, rule: NodeRule) -> list[Row]:
    return _rows(_read(span, scope), origin, rule)


def _read(span: Span, scope: str) -> _Taken:
    trace_id, span_id = hex_id(span.trace_id, 16), hex_id(span.span_id, 8)
    if trace_id is None or span_id is None:
        raise ValueError("a span has no trace id or no span id")
    start = checked_time(span.start_time_unix_nano)
    end = checked_time(span.end_time_unix_nano) or None  # none yet: the span runs
    if end is not None and end < start:
        end = start  # a clock that jumped; the span was still there
    return _Taken(
        span,
        scope,
        attributes_of(span.attributes),
        trace_id,
        span_id,
        hex_id(span.parent_span_id, 8),
        start,
        end,
    )


def _rows(taken: _Taken, origin: Origin, rule: NodeRule) -> list[Row]:
    span = taken.span
    parts = SpanParts(
        name=plain_text(span.name),
        attributes=taken.attributes,
        is_error=span.status.code == _STATUS_ERROR,
        description=plain_text(span.status.message) or None,
        start_time=taken.start,
        end_time=taken.end,
        trace_id=int(taken.trace_id, 16),
        span_id=int(taken.span_id, 16),
    )
    time_unix_ns = taken.end or taken.start
    own = node_row_of_parts(parts) if taken.scope == semconv.SCOPE else None
    if own is not None:
        origin.note_own(own.experiment_id, own.trace_id, time_unix_ns)
        return own_rows(own, taken.attributes, origin)
    place = origin.place(taken.attributes, taken.trace_id, taken.span_id, time_unix_ns)
    rows: list[Row] = []
    if rule.is_node(taken.scope, taken.attributes):
        node = _foreign_node(taken, parts, place)
        rows.append(node)
        if taken.parent_id is None:
            rows.insert(0, _experiment(node, origin))
    else:
        # Not in the tree; what happened in it belongs to the nearest node that is known, the one around it.
        place = Place(place.experiment_id, place.job_id, taken.parent_id)
    return rows + [row for event in span.events for row in _event_rows(event, taken, place)]


def _foreign_node(taken: _Taken, parts: SpanParts, place: Place) -> NodeRow:
    attributes = taken.attributes
    is_root = taken.parent_id is None
    status = _status(taken, parts)
    span = taken.span
    about = {
        "scope": taken.scope,
        "kind": _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else "unspecified",
    }
    links = [
        {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex(), **attributes_of(link.attributes)}
        for link in span.links
    ]
    if links:
        about["links"] = links  # type: ignore[assignment] # the rest of it is text
    name = next((text for key in _CICD_NAMES if isinstance(text := attributes.get(key), str)), parts.name)
    return NodeRow(
        experiment_id=place.experiment_id,
        node_id=taken.span_id,
        # What stands below the root gets its level from its parent, which may be yet to come.
        node_level="pipeline" if is_root else "substep",
        parent_id=taken.parent_id,
        node_name=plain_text(name) or "unnamed",
        status=status,
        completed_units=0,
        total_units=None,
        unit=None,
        weight=1.0,
        message=parts.description,
        error_type=text_of(attributes.get(semconv.ERROR_TYPE)),
        start_time=taken.start,
        end_time=taken.end,
        metadata={**clean_value(dict(attributes)), FOREIGN_KEY: clean_value(about)},
        trace_id=taken.trace_id,
        span_id=taken.span_id,
        job_id=place.job_id,
        attempt=1,
        version=taken.end or taken.start,
    )


def _status(taken: _Taken, parts: SpanParts) -> Status:
    if taken.end is None:
        return "running"
    for key in _CICD_RESULTS:
        found = _CICD_STATUSES.get(str(taken.attributes.get(key)))
        if found is not None:
            return found
    return "failed" if parts.is_error else "completed"


def _experiment(root: NodeRow, origin: Origin) -> ExperimentRow:
    return ExperimentRow(
        id=root.experiment_id, name=root.node_name, status=root.status, params={}, tags=(),
        command=None, host=text_of(origin.attributes.get("host.name")), user_name=None, git_commit=None,
        started_at=root.start_time or 0, ended_at=root.end_time, trace_id=root.trace_id, attempt=1,
        version=root.version,
    )  # fmt: skip


def _event_rows(event: Span.Event, taken: _Taken, place: Place) -> list[Row]:
    attributes = attributes_of(event.attributes)
    time_unix_ns = checked_time(event.time_unix_nano) or taken.end or taken.start
    name = plain_text(event.name) or "event"
    if name == EXCEPTION_EVENT or semconv.EXCEPTION_TYPE in attributes:
        parts = LogParts(
            taken.scope, time_unix_ns, _ERROR, None, attributes, None, taken.trace_id, taken.span_id
        )
        return [log_row_of_parts(place, parts)]
    return [
        EventRow(
            place.experiment_id,
            place.job_id,
            place.node_id,
            name,
            taken.scope or "otlp",
            "INFO",
            name,
            clean_value(attributes),
            time_unix_ns,
        )
    ]
