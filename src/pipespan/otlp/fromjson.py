"""OTLP/JSON as the protobuf messages that it stands for.

Protobuf's own JSON mapping is another one: OTLP writes ids in hex and enum values as numbers. So the walk is made
here, over the message's own description: names in both cases, 64-bit numbers as text, unknown names left out.
"""

from __future__ import annotations

import base64
import binascii
import math
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)

MAX_DEPTH: Final = 64
"""Deepest nesting of a message; OTLP itself needs about ten."""

_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_INTEGERS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_FLOATS: Final = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def fill_json(message: MessageT, found: Any) -> MessageT:
    """Fill `message` from an object of OTLP/JSON and return it.

    Raises:
        ValueError: it is no message of this kind.
    """
    try:
        _fill(message, found, 0)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return message


def _fill(message: Message, found: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise ValueError(f"{message.DESCRIPTOR.name} must be an object, not {kind}")  # noqa: TRY004 - as all else here
    names = _names(message.DESCRIPTOR)
    for key, value in found.items():
        field = names.get(key)
        if field is None or value is None:
            continue
        try:
            _set(message, field, value, depth)
        except (TypeError, OverflowError, binascii.Error) as error:
            raise ValueError(f"{message.DESCRIPTOR.name}.{key}: {error}") from error


@cache
def _names(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {name: field for field in descriptor.fields for name in (field.name, field.json_name)}


def _set(message: Message, field: FieldDescriptor, value: Any, depth: int) -> None:
    if field.is_repeated:
        if not isinstance(value, list):
            raise TypeError(f"must be a list, not {type(value).__name__}")
        target = getattr(message, field.name)
        for item in value:
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                _fill(target.add(), {} if item is None else item, depth + 1)
            else:
                target.append(_scalar(field, item))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        part = getattr(message, field.name)
        part.SetInParent()
        _fill(part, value, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return _integer(value)
    if kind in _FLOATS:
        return _float(value)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise TypeError(f"must be true or false, not {value!r:.40}")
        return value
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, value)
    if not isinstance(value, str):
        raise TypeError(f"must be text, not {value!r:.40}")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.fromhex(value) if field.name in _IDS else _base64(value)
    # A lone surrogate, which JSON can write, is no UTF-8.
    return value.encode("utf-8", "replace").decode()


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise TypeError(f"must be a number, not {value!r:.40}")
    if isinstance(value, float) and not value.is_integer():
        raise TypeError(f"must be a whole number, not {value!r}")
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"must be a number, not {value!r:.40}")
    return float(value)


def _enum(field: FieldDescriptor, value: Any) -> int:
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        named = field.enum_type.values_by_name.get(value) if field.enum_type is not None else None
        return 0 if named is None else int(named.number)
    number = _integer(value)
    # Values to come are read as unspecified.
    known = field.enum_type is not None and number in field.enum_type.values_by_number
    return number if known else 0


def _base64(value: str) -> bytes:
    padded = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
    return base64.b64decode(padded, validate=True)
