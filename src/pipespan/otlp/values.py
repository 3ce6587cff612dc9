"""Values of OTLP as plain Python."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MAX_DEPTH: Final = 32
"""Deepest nesting of lists and maps that is read; what lies deeper is said to be there and left out."""

TOO_DEEP: Final = "(nested too deeply)"


def value_of(value: AnyValue, depth: int = 0) -> Any:
    """Return an `AnyValue` as str, bool, int, float, list, dict or None; bytes as base64 text."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return TOO_DEEP if depth >= MAX_DEPTH else [value_of(one, depth + 1) for one in found.values]
    if kind == "kvlist_value":
        return TOO_DEEP if depth >= MAX_DEPTH else attributes_of(found.values, depth + 1)
    if kind == "bytes_value":
        return base64.b64encode(found).decode()
    return found


def attributes_of(pairs: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    """Return attributes by name; of a name that comes twice the last value."""
    return {pair.key: value_of(pair.value, depth) for pair in pairs}


def hex_id(identifier: bytes, size_bytes: int) -> str | None:
    """Return a trace or span id in hex; None when there is none.

    Raises:
        ValueError: it is of another size.
    """
    if not identifier:
        return None
    if len(identifier) != size_bytes:
        raise ValueError(f"an id has {len(identifier)} bytes, not {size_bytes}")
    return identifier.hex() if any(identifier) else None
