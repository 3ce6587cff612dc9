"""Rows as log events and back: how the state of a run travels over plain OTLP.

A span leaves its process when it has ended, so it cannot tell of what runs. Events can: a node's start, its
progress and its end, a process's heartbeat. Each event carries the whole row, so any single one makes it, in any
order (ARCHITECTURE, rules 4 and 5). This module is the one definition of both directions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from pipespan.model import semconv
from pipespan.model.attributes import json_text, plain_text
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, MetricRow, NodeRow, column_kinds, columns
from pipespan.model.status import LOG_LEVELS, NODE_LEVELS, STATUSES, TERMINAL_STATUSES, LogLevel

StateRow: TypeAlias = ExperimentRow | JobRow | NodeRow | EventRow | MetricRow
"""What travels as an event; log rows travel as the log records that they are."""

StateRowType: TypeAlias = (
    type[ExperimentRow] | type[JobRow] | type[NodeRow] | type[EventRow] | type[MetricRow]
)


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """A log record's parts.

    Attributes:
        name: of the event.
        level: DEBUG for what comes again and again, so that a collector can leave it out by severity.
        body: a short sentence for people.
        timestamp: when it happened.
        attributes: the row's columns; JSON columns as JSON text, which every backend keeps as it is.
    """

    name: str
    level: LogLevel
    body: str
    timestamp: int
    attributes: Mapping[str, Any]


_SHARED: Final = {
    "experiment_id": semconv.EXPERIMENT_ID,
    "job_id": semconv.JOB_ID,
    "attempt": semconv.ATTEMPT,
    "version": semconv.EVENT_SEQ,
}
_NODE_COLUMNS: Final = {
    **_SHARED,
    "node_id": semconv.NODE_ID,
    "completed_units": semconv.PROGRESS_COMPLETED,
    "total_units": semconv.PROGRESS_TOTAL,
    "unit": semconv.PROGRESS_UNIT,
    "message": semconv.PROGRESS_MESSAGE,
    "error_type": semconv.ERROR_TYPE,
    "node_level": semconv.NODE_LEVEL,
    "node_name": semconv.NODE_NAME,
}
_RENAMED: Final[Mapping[StateRowType, Mapping[str, str]]] = {
    ExperimentRow: {**_SHARED, "id": semconv.EXPERIMENT_ID},
    JobRow: {**_SHARED, "id": semconv.JOB_ID, "pid": semconv.PROCESS_PID},
    NodeRow: _NODE_COLUMNS,
    EventRow: {**_SHARED, "node_id": semconv.NODE_ID},
    MetricRow: {**_SHARED, "node_id": semconv.NODE_ID},
}
_PREFIXES: Final[Mapping[StateRowType, str]] = {
    ExperimentRow: "pipespan.experiment.",
    JobRow: "pipespan.job.",
    NodeRow: semconv.NODE_PREFIX,
    EventRow: "pipespan.event.",
    MetricRow: "pipespan.metric.",
}
_ATTRIBUTES: Final[Mapping[StateRowType, Mapping[str, str]]] = {
    row_type: {column: _RENAMED[row_type].get(column, prefix + column) for column in columns(row_type)}
    for row_type, prefix in _PREFIXES.items()
}
"""For each row type the attribute that carries each column."""

_EVENTS: Final[Mapping[str, StateRowType]] = {
    semconv.EVENT_EXPERIMENT_START: ExperimentRow,
    semconv.EVENT_EXPERIMENT_END: ExperimentRow,
    semconv.EVENT_PROCESS_START: JobRow,
    semconv.EVENT_PROCESS_HEARTBEAT: JobRow,
    semconv.EVENT_PROCESS_END: JobRow,
    semconv.EVENT_NODE_START: NodeRow,
    semconv.EVENT_NODE_PROGRESS: NodeRow,
    semconv.EVENT_NODE_END: NodeRow,
    semconv.EVENT_METRIC: MetricRow,
}


def event_of(row: StateRow) -> LifecycleEvent:
    """Return the event that carries `row`."""
    name, level, body, timestamp = _headline(row)
    attributes: dict[str, Any] = {}
    for (column, attribute), value in zip(_ATTRIBUTES[type(row)].items(), row, strict=True):
        if value is None:
            continue
        if column in _JSON_COLUMNS:
            attributes[attribute] = json_text(value)
        else:
            attributes[attribute] = plain_text(value) if isinstance(value, str) else value
    return LifecycleEvent(name, level, body, timestamp, attributes)


def row_of(name: str, attributes: Mapping[str, Any]) -> StateRow | None:
    """Return the row that an event carries; None for any other event.

    Args:
        name: of the event.
        attributes: of its log record, as plain values.

    Raises:
        ValueError: it is one of ours by name, but a column is missing or is not what it should be.
    """
    row_type = _EVENTS.get(name)
    if row_type is None:
        if semconv.EVENT_SOURCE not in attributes or semconv.EXPERIMENT_ID not in attributes:
            return None
        row_type = EventRow
    values: list[Any] = [
        _value(attribute, kind, attributes.get(attribute), is_nullable=is_nullable)
        for attribute, (kind, is_nullable) in zip(
            _ATTRIBUTES[row_type].values(), column_kinds(row_type), strict=True
        )
    ]
    return row_type(*values)


def _headline(row: StateRow) -> tuple[str, LogLevel, str, int]:
    if isinstance(row, NodeRow):
        return _node_headline(row)
    if isinstance(row, JobRow):
        if row.ended_at is not None:
            return semconv.EVENT_PROCESS_END, "INFO", f"process {row.pid} {row.status}", row.ended_at
        # A job's first sign of life is its start; any later one is a heartbeat, however soon it comes.
        is_start = row.heartbeat_at == row.started_at
        name = semconv.EVENT_PROCESS_START if is_start else semconv.EVENT_PROCESS_HEARTBEAT
        return name, "INFO" if is_start else "DEBUG", f"process {row.pid} runs", row.heartbeat_at
    if isinstance(row, ExperimentRow):
        is_over = row.status in TERMINAL_STATUSES
        name = semconv.EVENT_EXPERIMENT_END if is_over else semconv.EVENT_EXPERIMENT_START
        return name, "INFO", f"experiment {plain_text(row.name)} {row.status}", row.ended_at or row.started_at
    if isinstance(row, EventRow):
        return row.event_type, row.severity, plain_text(row.title), row.timestamp
    return semconv.EVENT_METRIC, "DEBUG", "sample", row.timestamp


def _node_headline(row: NodeRow) -> tuple[str, LogLevel, str, int]:
    body = f"{row.node_level} {plain_text(row.node_name)} {row.status}"
    if row.status in TERMINAL_STATUSES:
        level: LogLevel = "ERROR" if row.status == "failed" else "INFO"
        return semconv.EVENT_NODE_END, level, body, row.end_time or row.version
    # A row that was a COPY line has its times in whole microseconds, as the tables do.
    if row.version // 1000 <= (row.start_time or row.version) // 1000:
        return semconv.EVENT_NODE_START, "INFO", body, row.start_time or row.version
    return semconv.EVENT_NODE_PROGRESS, "DEBUG", body, row.version


_JSON_COLUMNS: Final = frozenset({"params", "metadata", "evidence", "details", "custom_metrics"})
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "Status": frozenset(STATUSES),
    "NodeLevel": frozenset(NODE_LEVELS),
    "LogLevel": frozenset(LOG_LEVELS),
}


def _value(attribute: str, kind: str, value: Any, *, is_nullable: bool) -> Any:
    if value is None:
        if is_nullable:
            return None
        raise ValueError(f"attribute {attribute!r} is missing")
    reader = _READERS.get(kind)
    words = _WORDS.get(kind)
    try:
        if words is not None:
            return _word(value, words)
        return value if reader is None else reader(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"attribute {attribute!r} is no {kind}: {value!r:.80}") from error


def _word(value: Any, words: frozenset[str]) -> str:
    if value not in words:
        raise ValueError(f"not one of {sorted(words)}")
    return str(value)


def _integer(value: Any) -> int:
    # JSON carries 64-bit integers as text; NaN, fractions and truth values are no counts.
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError("not an integer")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("not a 64-bit integer")
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("not a number")
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _uuid(value: Any) -> str:
    return str(UUID(_string(value)))


def _object(value: Any) -> Mapping[str, Any]:
    decoded = json.loads(value) if isinstance(value, str) else value
    if not isinstance(decoded, Mapping):
        raise TypeError("not an object")
    return decoded


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise TypeError("not a list of strings")
    return tuple(value)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": _integer,
    "UnixNs": _integer,
    "float": _number,
    "str": _string,
    "Uuid": _uuid,
    "Json": _object,
    "TextArray": _texts,
}
