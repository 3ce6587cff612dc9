"""The outer part of a request: resources, scopes, and records that nobody has looked into yet.

All three signals have the same one. Its records stay bytes (or objects of JSON) here and are read one by one, so that
a damaged record spoils no other, and so that what is not needed of them is never made into objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from pipespan.otlp.fromjson import fill_json

_PACKAGE: Final = "pipespan.otlp"
_JSON_NAMES: Final[Mapping[str, tuple[str, str, str]]] = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
}

Record = Any
"""A record as it came: bytes of protobuf, or an object of JSON."""


class UndecodableError(ValueError):
    """The bytes are no request of the signal; sending them again cannot help."""


@dataclass(frozen=True, slots=True)
class Group:
    """The records of one scope of one resource.

    Attributes:
        resource: the same object for all groups of a resource.
        scope: None when it cannot be read.
        records: not read yet.
        trouble: why resource or scope cannot be read; its records are rejected then.
    """

    resource: Resource
    scope: InstrumentationScope
    records: Sequence[Record]
    trouble: str | None = None


def read_protobuf(payload: bytes) -> Iterator[Group]:
    """Return the groups of a request in protobuf.

    Raises:
        UndecodableError: it is none.
    """
    request = _REQUEST()
    try:
        request.ParseFromString(payload)
    except (DecodeError, ValueError, RecursionError) as error:
        raise UndecodableError(str(error)[:200]) from error
    for outer in request.resources:
        # A message that comes in parts is the parts in a row.
        resource, trouble = _part(Resource(), outer.resource)
        for inner in outer.scopes:
            scope, scope_trouble = _part(InstrumentationScope(), inner.scope)
            yield Group(resource, scope, inner.records, trouble or scope_trouble)


def read_lean(request: Any) -> Iterator[Group]:
    """Return the groups of a lean message (`pipespan.otlp.lean`), whose records are messages."""
    for outer in request.items:
        resource, trouble = _part(Resource(), outer.resource)
        for inner in outer.items:
            scope, scope_trouble = _part(InstrumentationScope(), inner.scope)
            yield Group(resource, scope, inner.items, trouble or scope_trouble)


def read_json(signal: str, payload: bytes) -> Iterator[Group]:
    """Return the groups of a request in OTLP/JSON.

    Raises:
        UndecodableError: it is none.
    """
    try:
        found = json.loads(payload)
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UndecodableError(f"not JSON: {error}"[:200]) from error
    names = _JSON_NAMES[signal]
    for outer in _objects(found, names[0]):
        resource, trouble = _filled(Resource(), outer.get("resource"))
        for inner in _objects(outer, names[1]):
            scope, scope_trouble = _filled(InstrumentationScope(), inner.get("scope"))
            yield Group(resource, scope, _list(inner, names[2]), trouble or scope_trouble)


def reader_of(kind: type[Any], *, is_json: bool) -> Callable[[Record], Any]:
    """Return what makes a message of `kind` of a record; it raises ValueError for one that is damaged."""

    def from_bytes(record: bytes) -> Any:
        try:
            return kind.FromString(record)
        except DecodeError as error:
            raise ValueError(f"{kind.__name__}: {str(error)[:120] or 'damaged'}") from error

    return (lambda record: fill_json(kind(), record)) if is_json else from_bytes


def _part(message: Any, parts: Sequence[bytes]) -> tuple[Any, str | None]:
    try:
        message.ParseFromString(parts[0] if len(parts) == 1 else b"".join(parts))
    except DecodeError as error:
        return message, f"{message.DESCRIPTOR.name}: {str(error)[:120]}"
    return message, None


def _filled(message: Any, found: Any) -> tuple[Any, str | None]:
    try:
        return fill_json(message, {} if found is None else found), None
    except ValueError as error:
        return message, str(error)


def _objects(outer: Any, name: str) -> Iterator[dict[str, Any]]:
    if not isinstance(outer, dict):
        raise UndecodableError(f"what holds {name!r} must be an object, not {type(outer).__name__}")
    for one in _list(outer, name):
        if one is None:
            continue
        if not isinstance(one, dict):
            raise UndecodableError(f"each of {name!r} must be an object, not {type(one).__name__}")
        yield one


def _list(outer: Mapping[str, Any], name: str) -> list[Any]:
    found = outer.get(name)
    if found is None:
        # Names as in the protocol's own files are taken too.
        found = outer.get("".join(f"_{char.lower()}" if char.isupper() else char for char in name))
    if found is None:
        return []
    if not isinstance(found, list):
        raise UndecodableError(f"{name!r} must be a list, not {type(found).__name__}")
    return found


def _build() -> type[Message]:
    """Return the class of the envelope: the numbers are those of OTLP, which are equal for all signals."""
    file = FileDescriptorProto(name="pipespan/otlp/envelope.proto", package=_PACKAGE, syntax="proto3")
    bytes_, message = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_MESSAGE
    for name, fields in (
        ("ScopeGroup", (("scope", 1, None), ("records", 2, None))),
        ("ResourceGroup", (("resource", 1, None), ("scopes", 2, "ScopeGroup"))),
        ("Request", (("resources", 1, "ResourceGroup"),)),
    ):
        made = file.message_type.add(name=name)
        for field, number, kind in fields:
            made.field.add(
                name=field, number=number, label=FieldDescriptorProto.LABEL_REPEATED,
                type=bytes_ if kind is None else message,
                type_name=None if kind is None else f".{_PACKAGE}.{kind}",
            )  # fmt: skip
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


_REQUEST: Final[Any] = _build()
