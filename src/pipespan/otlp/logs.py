"""Log records and events of OTLP as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.clean import clean_value
from pipespan.model.lifecycle import row_of
from pipespan.model.otelrows import LogParts, log_row_of_parts
from pipespan.model.rows import EventRow, ExperimentRow, Row
from pipespan.model.status import level_of_severity
from pipespan.otlp.decoded import Decoded, checked_time
from pipespan.otlp.origin import Origin, by_resource
from pipespan.otlp.values import attributes_of, hex_id, value_of

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from pipespan.otlp.envelope import Group

EVENT_NAME: Final = "event.name"
_WARN: Final = 13
_MAX_SEVERITY: Final = 24


def decode_logs(
    groups: Iterable[Group], read: Callable[[Any], LogRecord], now_unix_ns: int,
    short: Callable[..., list[bytes]] | None = None,
) -> Decoded:  # fmt: skip
    """Return the rows of a message.

    Args:
        groups: its records.
        read: makes a message of a record.
        now_unix_ns: stands for times that are missing.
        short: writes down the usual ones, and returns the others.
    """
    decoded = Decoded()
    for origin, own in by_resource(groups, now_unix_ns):
        found = Decoded()
        for group in own:
            scope = plain_text(group.scope.name)
            bound = (
                None
                if short is None
                else partial(short, scope=scope, origin=origin, found=found, now_unix_ns=now_unix_ns)
            )
            found.each(
                group, partial(_take, read=read, scope=scope, origin=origin, now_unix_ns=now_unix_ns), bound
            )
        decoded.add(origin.rows(), found)
    return decoded


def _take(
    raw: Any, *, read: Callable[[Any], LogRecord], scope: str, origin: Origin, now_unix_ns: int
) -> list[Row]:
    record = read(raw)
    attributes = attributes_of(record.attributes)
    named = attributes.get(EVENT_NAME)
    event = record.event_name or (named if isinstance(named, str) else "")
    time_unix_ns = checked_time(record.time_unix_nano or record.observed_time_unix_nano or now_unix_ns)
    trace_id, span_id = hex_id(record.trace_id, 16), hex_id(record.span_id, 8)
    if event:
        state = row_of(event, attributes)
        if state is not None:
            experiment_id = state.id if isinstance(state, ExperimentRow) else state.experiment_id
            origin.seen(experiment_id, trace_id).note(time_unix_ns)
            return [state]
    # Of a foreign span the node's id is the span's.
    place = origin.place(attributes, trace_id, span_id, time_unix_ns)
    severity = min(max(record.severity_number, 0), _MAX_SEVERITY)
    parts = LogParts(
        scope_name=scope,
        timestamp=time_unix_ns,
        severity_number=severity,
        body=clean_value(value_of(record.body)),
        attributes=attributes,
        event_name=event or None,
        trace_id=trace_id,
        span_id=span_id,
    )
    if not event:
        return [log_row_of_parts(place, parts)]
    rows: list[Row] = [
        EventRow(
            place.experiment_id,
            place.job_id,
            place.node_id,
            plain_text(event),
            scope or origin.service_name(),
            level_of_severity(severity),
            plain_text(str(parts.body)) if parts.body is not None else plain_text(event),
            clean_value(attributes),
            time_unix_ns,
        )
    ]
    # An event that tells of trouble is also sought among the logs.
    if severity >= _WARN or semconv.EXCEPTION_TYPE in attributes:
        rows.append(log_row_of_parts(place, parts))
    return rows
