"""OTLP's spans and log records as messages of our own, of which only what a row needs is made into Python objects.

The numbers of the fields are OTLP's, so the bytes are read alike. Attributes and texts stay bytes: a whole attribute
is looked up by them, and most have been seen before.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE: Final = "pipespan.otlp.lean"
_BYTES: Final = FieldDescriptorProto.TYPE_BYTES
_TEXT: Final = FieldDescriptorProto.TYPE_STRING
_FIXED: Final = FieldDescriptorProto.TYPE_FIXED64
_INT: Final = FieldDescriptorProto.TYPE_INT32
_ONE: Final = FieldDescriptorProto.LABEL_OPTIONAL
_MANY: Final = FieldDescriptorProto.LABEL_REPEATED

# What is text and not bytes is not looked at: text that is no UTF-8 makes a record a damaged one.
_RECORDS: Final = {
    "traces": (
        ("trace_id", 1, _BYTES, _ONE), ("span_id", 2, _BYTES, _ONE), ("trace_state", 3, _TEXT, _ONE),
        ("parent_span_id", 4, _BYTES, _ONE),
        ("name", 5, _BYTES, _ONE), ("kind", 6, _INT, _ONE), ("start", 7, _FIXED, _ONE), ("end", 8, _FIXED, _ONE),
        ("attributes", 9, _BYTES, _MANY), ("events", 11, _BYTES, _MANY), ("links", 13, _BYTES, _MANY),
        ("status", 15, _BYTES, _MANY),
    ),
    "logs": (
        ("time", 1, _FIXED, _ONE), ("severity", 2, _INT, _ONE), ("severity_text", 3, _TEXT, _ONE),
        ("body", 5, _BYTES, _MANY),
        ("attributes", 6, _BYTES, _MANY), ("trace_id", 9, _BYTES, _ONE), ("span_id", 10, _BYTES, _ONE),
        ("observed", 11, _FIXED, _ONE), ("event_name", 12, _BYTES, _ONE),
    ),
}  # fmt: skip


def lean_request(signal: str) -> Any:
    """Return the class of a request of `signal` ("traces" or "logs")."""
    file = FileDescriptorProto(name=f"pipespan/otlp/lean_{signal}.proto", package=_PACKAGE, syntax="proto3")
    record = file.message_type.add(name="Record")
    for name, number, kind, label in _RECORDS[signal]:
        record.field.add(name=name, number=number, type=kind, label=label)
    for name, part, inner in (("Scope", "scope", "Record"), ("Resource", "resource", "Scope")):
        outer = file.message_type.add(name=name)
        outer.field.add(name=part, number=1, type=_BYTES, label=_MANY)
        _nested(outer, "items", 2, inner)
    _nested(file.message_type.add(name="Request"), "items", 1, "Resource")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


def _nested(outer: Any, name: str, number: int, kind: str) -> None:
    outer.field.add(
        name=name,
        number=number,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        label=_MANY,
        type_name=f".{_PACKAGE}.{kind}",
    )
