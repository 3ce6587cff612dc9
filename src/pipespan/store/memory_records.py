"""What the memory store makes of lines: rows that the tables of Postgres would take, and records of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pipespan.errors import RefusedError
from pipespan.model.fingerprint import fingerprint_of_log
from pipespan.model.records import LogRecord
from pipespan.model.rows import ExperimentRow, LogRow, Row, columns
from pipespan.model.status import LOG_LEVELS, NODE_LEVELS, STATUSES
from pipespan.store.copytext import decode_line

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_BIGINT: Final = 2**63 - 1
_MAX_ID_CHARS: Final = 255
_STUB_VERSION: Final = -1
_TIMES: Final = frozenset(
    (
        *("started_at", "ended_at", "process_started_at", "heartbeat_at", "progress_at"),
        *("start_time", "end_time", "timestamp"),
    )
)
_LISTS: Final = frozenset({"tags", "log_messages"})
_NODE_IDS: Final = frozenset({"node_id", "parent_id"})
_UUIDS: Final = frozenset({"id", "experiment_id", "job_id", "parent_job_id"})
_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "status": STATUSES,
    "node_level": NODE_LEVELS,
    "level": LOG_LEVELS,
    "severity": LOG_LEVELS,
}


def stub_experiment(experiment_id: str, moment: datetime) -> ExperimentRow:
    """Return what stands for an experiment until its owner's row arrives: it loses against all others."""
    started_at = unix_us(moment) * 1000
    return ExperimentRow(
        id=experiment_id,
        name=experiment_id,
        status="running",
        params={},
        tags=(),
        command=None,
        host=None,
        user_name=None,
        git_commit=None,
        started_at=started_at,
        ended_at=None,
        trace_id=None,
        attempt=0,
        version=_STUB_VERSION,
    )


def unix_us(moment: datetime) -> int:
    """Return `moment` in the microseconds that Postgres keeps."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def decoded_rows(row_type: type[Row], lines: Iterable[bytes]) -> list[Row]:
    """Return the rows of COPY lines.

    Raises:
        RefusedError: a line is not one of `row_type`, or holds what its table would not take.
    """
    try:
        rows = [decode_line(row_type, line) for line in b"".join(lines).splitlines(keepends=True)]
    except (ValueError, TypeError) as error:
        message = f"a line of {row_type.__name__} cannot be read: {error}; correct the row and write it again"
        raise RefusedError(message) from error
    for row in rows:
        _check(row)
    return rows


def _check(row: Row) -> None:
    """Refuse what the tables of Postgres refuse."""
    for name in columns(type(row)):
        value: Any = getattr(row, name)
        if not _is_storable(name, value):
            message = f"{name} cannot be {value!r}; correct the row and write it again"
            raise RefusedError(message)


def _is_storable(name: str, value: Any) -> bool:
    if value is None or name in _TIMES:
        return True
    if name in _CHOICES:
        return value in _CHOICES[name]
    if isinstance(value, int):
        return -_MAX_BIGINT <= value <= _MAX_BIGINT
    if name in _UUIDS:
        return _is_uuid(value)
    return name not in _NODE_IDS or len(value) <= _MAX_ID_CHARS


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def record_values(row: Row) -> dict[str, Any]:
    """Return the fields of a row as records have them, by name."""
    return {name: _value(name, getattr(row, name)) for name in columns(type(row))}


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _TIMES:
        return _EPOCH + timedelta(microseconds=value // 1000)
    return list(value) if name in _LISTS else value


def log_record(number: int, row: LogRow) -> LogRecord:
    """Return the record of a log row that arrived as the `number`th."""
    known = fingerprint_of_log(row.level, row.error_type, row.message, row.traceback)
    return LogRecord(id=number, **record_values(row), fingerprint=known)
