"""Spans of OTLP as rows: pipespan's own by what they say, those of others by rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
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
from pipespan.otlp.family import Family, settle
from pipespan.otlp.origin import Origin, Place, by_resource
from pipespan.otlp.rules import NodeRule
from pipespan.otlp.values import attributes_of, hex_id

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from pipespan.otlp.envelope import Group

EXCEPTION_EVENT: Final = "exception"
_ERROR: Final = 17
_STATUS_ERROR: Final = 2

FOREIGN_KEY: Final = "otel"
"""Key of a node's metadata that says: a span of another origin, whose place in the tree follows from its parent."""

MAX_LINKS: Final = 100
"""So many links of a span are kept."""

SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")

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


def decode_spans(
    groups: Iterable[Group], read: Callable[[Any], Span], rule: NodeRule, now_unix_ns: int,
    short: Callable[..., list[bytes]] | None = None,
) -> Decoded:  # fmt: skip
    """Return the rows of a message.

    Args:
        groups: its spans.
        read: makes a message of a record.
        rule: which spans of other origin become nodes.
        now_unix_ns: stands for times that are missing.
        short: writes down the usual ones, and returns the others.
    """
    decoded = Decoded()
    families: dict[str, Family] = {}
    for origin, own in by_resource(groups, now_unix_ns):
        found = Decoded()
        taker = _Taker(origin, rule, families)
        for group in own:
            scope = plain_text(group.scope.name)
            found.each(
                group,
                lambda record, scope=scope, taker=taker: taker.take(read(record), scope),  # type: ignore[misc] # lambda
                None if short is None else partial(short, scope=scope, origin=origin, families=families),
            )
        decoded.add(origin.rows(), found)
    settle(decoded, families)
    return decoded


@dataclass(frozen=True, slots=True)
class _Taker:
    """Makes rows of the spans of one resource."""

    origin: Origin
    rule: NodeRule
    families: dict[str, Family]

    def take(self, span: Span, scope: str) -> list[Row]:
        """Return the rows of one span, and note which span is above it."""
        taken = _read(span, scope)
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
        own = node_row_of_parts(parts) if taken.scope == semconv.SCOPE else None
        place = self.origin.place(
            taken.attributes, taken.trace_id, taken.span_id, taken.end or taken.start, is_ours=own is not None
        )
        if own is not None:
            own = own._replace(experiment_id=place.experiment_id, job_id=place.job_id)
            return self._of_ours(own, taken.attributes)
        is_node = self.rule.is_node(taken.scope, taken.attributes)
        family = self.families.setdefault(place.experiment_id, Family())
        if not is_node:
            family.leave_out(taken.span_id, taken.parent_id)
        elif taken.parent_id is None:
            family.roots.add(taken.span_id)
        else:
            family.put(taken.span_id, taken.parent_id)
            family.rows.append(taken.span_id)
        node = _foreign_node(taken, parts, place)
        rows: list[Row] = [node] if is_node else []
        if taken.parent_id is None:
            rows.insert(0, self._experiment(node))
        return rows + [row for event in span.events for row in _event_rows(event, taken, place)]

    def _of_ours(self, node: NodeRow, attributes: Mapping[str, Any]) -> list[Row]:
        if node.parent_id is not None:
            return [node]
        # Of a process that sends spans and no events, the root's end is all that tells of the end.
        params, tags = attributes.get(semconv.EXPERIMENT_PARAMS), attributes.get(semconv.EXPERIMENT_TAGS)
        return [self._experiment(node)._replace(params=_params(params), tags=_tags(tags)), node]

    def _experiment(self, root: NodeRow) -> ExperimentRow:
        if root.end_time is not None:
            self.origin.seen(root.experiment_id).end(root.end_time, root.status)
        # Attempt 0: what a process of pipespan says of the experiment itself stands above it.
        return ExperimentRow(
            id=root.experiment_id, name=root.node_name, status=root.status, params={}, tags=(), command=None,
            host=text_of(self.origin.attributes.get("host.name")), user_name=None, git_commit=None,
            started_at=root.start_time or 0, ended_at=root.end_time, trace_id=root.trace_id, attempt=0,
            version=max(root.version, 1),
        )  # fmt: skip


def _params(value: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return {}
    return clean_value(found) if isinstance(found, dict) else {}


def _tags(value: Any) -> tuple[str, ...]:
    return tuple(plain_text(str(tag)) for tag in value) if isinstance(value, list) else ()


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
        start or end or 0,
        end,
    )


def _foreign_node(taken: _Taken, parts: SpanParts, place: Place) -> NodeRow:
    attributes = taken.attributes
    name = next((text for key in _CICD_NAMES if isinstance(text := attributes.get(key), str)), parts.name)
    return NodeRow(
        experiment_id=place.experiment_id,
        node_id=taken.span_id,
        # What stands below the root gets its level from its parent, which may be yet to come.
        node_level="pipeline" if taken.parent_id is None else "substep",
        parent_id=taken.parent_id,
        node_name=plain_text(name) or "unnamed",
        status=_status(taken, parts),
        completed_units=0,
        total_units=None,
        unit=None,
        weight=1.0,
        message=parts.description,
        error_type=text_of(attributes.get(semconv.ERROR_TYPE)),
        start_time=taken.start,
        end_time=taken.end,
        metadata={**clean_value(dict(attributes)), FOREIGN_KEY: _about(taken)},
        trace_id=taken.trace_id,
        span_id=taken.span_id,
        job_id=place.job_id,
        attempt=1,
        version=taken.end or taken.start,
    )


def _about(taken: _Taken) -> dict[str, Any]:
    span = taken.span
    about: dict[str, Any] = {
        "scope": taken.scope,
        "kind": SPAN_KINDS[span.kind] if 0 <= span.kind < len(SPAN_KINDS) else "unspecified",
    }
    if len(span.links):
        about["links"] = [
            clean_value(
                {
                    **attributes_of(link.attributes),
                    "trace_id": link.trace_id.hex(),
                    "span_id": link.span_id.hex(),
                }
            )
            for link in span.links[:MAX_LINKS]
        ]
    return about


def _status(taken: _Taken, parts: SpanParts) -> Status:
    if taken.end is None:
        return "running"
    for key in _CICD_RESULTS:
        found = _CICD_STATUSES.get(str(taken.attributes.get(key)))
        if found is not None:
            return found
    return "failed" if parts.is_error else "completed"


def _event_rows(event: Span.Event, taken: _Taken, place: Place) -> list[Row]:
    attributes = attributes_of(event.attributes)
    # An event whose time is none happened in its span, which is kept.
    has_time = 0 < event.time_unix_nano < 2**63
    time_unix_ns = event.time_unix_nano if has_time else taken.end or taken.start
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
