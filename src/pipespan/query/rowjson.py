"""Rows as JSON objects and back, strictly: what is read was written by `row_object`, or is refused.

Each field is a key. Times are ISO 8601 in UTC with microseconds, floats that JSON has no form for are the texts
`NaN`, `Infinity` and `-Infinity`. The experiment that a row belongs to is known from the document around it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pipespan.errors import DocumentError
from pipespan.model.rows import ROW_TYPES, Row, RowType, columns
from pipespan.model.status import LOG_LEVELS, NODE_LEVELS, STATUSES

Reader = Callable[[Any], Any]

OWNER: Final = "experiment_id"
"""The field that stands in no object."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BIGINT: Final = (-(2**63), 2**63 - 1)
_NARROW: Final[Mapping[str, tuple[int, int]]] = {
    "attempt": (-(2**31), 2**31 - 1),
    "exit_signal": (-(2**31), 2**31 - 1),
    "severity_number": (-(2**15), 2**15 - 1),
}
_MAX_ID_CHARS: Final = 255
_NODE_IDS: Final = frozenset({"node_id", "parent_id"})
_NON_FINITE: Final[Mapping[str, float]] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
MAX_SHOWN_CHARS: Final = 80
"""So much of a wrong value stands in a message."""


def row_object(row: Row) -> dict[str, Any]:
    """Return a row as an object that JSON knows."""
    return {
        name: None if value is None else write(value)
        for name, value, write in zip(columns(type(row)), row, _WRITERS[type(row)], strict=True)
        if name != OWNER
    }


def row_of(row_type: RowType, value: Any, place: str, owner: str) -> Row:
    """Return the row that an object says.

    Args:
        row_type: which kind of row it is.
        value: as `row_object` made it.
        place: where it stands, for messages.
        owner: the id of the experiment.

    Raises:
        DocumentError: it is not what a table takes.
    """
    if not isinstance(value, dict):
        raise DocumentError(f"{place} is {shown(value)}; it must be an object")
    readers = _READERS[row_type]
    unknown = sorted(set(value) - set(readers) - {OWNER})
    if unknown:
        raise DocumentError(f"{place} has the unknown field {unknown[0]!r}; it takes {', '.join(readers)}")
    found: list[Any] = []
    for name in columns(row_type):
        if name == OWNER:
            found.append(owner)
            continue
        if name not in value and name not in _NULLABLE[row_type]:
            raise DocumentError(f"{place} lacks the field {name!r}; export the experiment again")
        found.append(_read(readers[name], value.get(name), f"{place}.{name}", name in _NULLABLE[row_type]))
    return row_type(*found)


def _read(reader: Reader, value: Any, place: str, is_nullable: bool) -> Any:  # noqa: FBT001 - one call
    if value is None and is_nullable:
        return None
    try:
        return reader(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise DocumentError(f"{place} cannot be {shown(value)}; {error}") from error


def shown(value: Any) -> str:
    """Return a value for a message: readable, and never endless."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it takes a text")
    return value


def _read_node_id(value: Any) -> str:
    if len(_read_text(value)) > _MAX_ID_CHARS:
        raise ValueError(f"it takes a text of at most {_MAX_ID_CHARS} characters")
    return str(value)


def _read_uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(_read_text(value)))
    except (ValueError, TypeError):
        raise ValueError("it takes a UUID") from None


def _one_of(known: tuple[str, ...]) -> Reader:
    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f"it takes one of {', '.join(known)}")
        return str(value)

    return read


def _integer(lowest: int, highest: int) -> Reader:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ValueError(f"it takes an integer from {lowest} to {highest}")
        return value

    return read


def _read_float(value: Any) -> float:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"it takes a number, or one of {', '.join(_NON_FINITE)}")
    return float(value)


def _read_time(value: Any) -> int:
    try:
        moment = datetime.fromisoformat(_read_text(value).replace("Z", "+00:00"))
        if moment.tzinfo is None:
            raise ValueError(value)
        return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError, OverflowError):
        raise ValueError("it takes a time such as '2026-03-01T12:00:00.000000Z'") from None


def _read_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("it takes a list of texts")
    return tuple(_read_text(one) for one in value)


def _as_it_is(value: Any) -> Any:
    return value


def _write_time(value: int) -> str:
    moment = _EPOCH + timedelta(microseconds=value // 1000)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _write_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


_KINDS: Final[Mapping[str, tuple[Callable[[Any], Any], Reader]]] = {
    "str": (_as_it_is, _read_text),
    "Uuid": (_as_it_is, _read_uuid),
    "Status": (_as_it_is, _one_of(STATUSES)),
    "NodeLevel": (_as_it_is, _one_of(NODE_LEVELS)),
    "LogLevel": (_as_it_is, _one_of(LOG_LEVELS)),
    "int": (_as_it_is, _integer(*_BIGINT)),
    "float": (_write_float, _read_float),
    "UnixNs": (_write_time, _read_time),
    "Json": (_as_it_is, _as_it_is),
    "TextArray": (list, _read_texts),
}


def _kinds(row_type: RowType) -> dict[str, str]:
    found = row_type.__annotations__
    return {name: str(getattr(found[name], "__forward_arg__", found[name])) for name in columns(row_type)}


def _reader_of(name: str, kind: str) -> Reader:
    if name in _NODE_IDS:
        return _read_node_id
    if name in _NARROW:
        return _integer(*_NARROW[name])
    return _KINDS[kind.removesuffix(" | None")][1]


_WRITERS: Final[Mapping[type, tuple[Callable[[Any], Any], ...]]] = {
    row_type: tuple(_KINDS[kind.removesuffix(" | None")][0] for kind in _kinds(row_type).values())
    for row_type in ROW_TYPES
}
_READERS: Final[Mapping[type, Mapping[str, Reader]]] = {
    row_type: {name: _reader_of(name, kind) for name, kind in _kinds(row_type).items() if name != OWNER}
    for row_type in ROW_TYPES
}
_NULLABLE: Final[Mapping[type, frozenset[str]]] = {
    row_type: frozenset(name for name, kind in _kinds(row_type).items() if kind.endswith(" | None"))
    for row_type in ROW_TYPES
}
