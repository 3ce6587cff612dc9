# ruff: noqa: SLF001 - a span of the SDK is made here, of what the SDK's own are made of
"""The SDK's span of a node, cast in one piece instead of put together.

Half of what the SDK spends on a span goes into what a node's span hardly ever needs (lists for events and links, a
guard for attributes, a copy of it when it ends) and into checks of what is known here. A `NodeSpan` is the SDK's span
in every other respect: its methods, its processors, its limits. What all spans of a tracer have alike stands in a class
that is made for them, by a span of the SDK itself; where its fields are not the known ones, or any other span class was
made, there is no mould, and the SDK makes all spans.
"""

from __future__ import annotations

from threading import Lock
from time import time_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, Tracer, _Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Span, SpanContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AnyValue

_KEPT: Final = frozenset({
    "_instrumentation_info", "_instrumentation_scope", "_kind", "_limits", "_record_end_metrics", "_record_exception",
    "_resource", "_sampler", "_set_status_on_exception", "_span_processor", "_status", "_trace_config", "_end_time",
})  # fmt: skip
"""What all spans of one tracer begin with alike."""

_OWN: Final = frozenset({
    "_attributes", "_context", "_events", "_links", "_lock", "_name", "_parent", "_start_time",
})  # fmt: skip

_ENDS_BY: Final = frozenset({
    "RuntimeError", "_attributes", "_end_time", "_immutable", "_lock", "_on_ending", "_readable_span",
    "_record_end_metrics", "_span_processor", "_start_time", "logger", "on_end", "time_ns", "warning",
})  # fmt: skip
"""What the SDK's `end` speaks of; one that does something else beside is not cut short."""

_IDLE_ENDINGS: Final = frozenset(
    getattr(kind, "_on_ending", None) for kind in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)
)
"""Do nothing."""

_OF_ATTRIBUTES: Final = frozenset({"_dict", "_immutable", "_lock", "dropped", "max_value_len", "maxlen"})

_ROOM: Final = 16
"""More attributes than a node's span starts with: a limit above this can drop none of them."""


class NodeSpan(_Span):
    """A span of the SDK that gets its lists, and the guard of its attributes, when somebody asks for them."""

    _ended_class: ClassVar[type[ReadableSpan]]
    _idle_processors: ClassVar[tuple[Any, ...] | None] = None

    def __getattr__(self, name: str) -> Any:
        if name == "_events":
            made: Any = self._new_events()  # type: ignore[no-untyped-call] # as the SDK has it
        elif name == "_links":
            made = self._new_links(())
        else:
            raise AttributeError(name)
        # Two threads may come here at once: the list that is kept is the one both get.
        return vars(self).setdefault(name, made)

    def _guard_attributes(self) -> None:
        with self._lock:
            if type(self._attributes) is dict and self._end_time is None:
                bounded = BoundedAttributes(
                    self._limits.max_span_attributes, immutable=False,
                    max_value_len=self._limits.max_span_attribute_length,
                )  # fmt: skip
                bounded._dict = self._attributes  # clean, as `Mould.new` asks for
                self._attributes = bounded

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set attributes, as the SDK does."""
        self._guard_attributes()
        super().set_attributes(attributes)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set an attribute, as the SDK does."""
        self._guard_attributes()
        super().set_attribute(key, value)

    def _readable_span(self) -> ReadableSpan:
        """Return what processors are given: it shares the fields, since nothing changes those of an ended span."""
        span: Any = object.__new__(self._ended_class)
        span.__dict__ = self.__dict__
        return span  # type: ignore[no-any-return] # a call of `cast` costs as much as a line

    def end(self, end_time: int | None = None) -> None:
        """End the span, as the SDK does, without asking those who do nothing."""
        with self._lock:
            is_ended = self._end_time is not None
            if not is_ended:
                self._end_time = time_ns() if end_time is None else end_time
                attributes: Any = self._attributes
                if type(attributes) is not dict:
                    attributes._immutable = True
        if is_ended:
            super().end(end_time)  # which warns
            return
        multiple: Any = self._span_processor
        processors = multiple._span_processors
        if processors is not self._idle_processors:
            self._tell_ending(processors)
        readable = self._readable_span()
        for processor in processors:
            processor.on_end(readable)

    def _tell_ending(self, processors: tuple[Any, ...]) -> None:
        listening = [one for one in processors if type(one)._on_ending not in _IDLE_ENDINGS]
        if not listening:
            type(self)._idle_processors = processors
        for processor in listening:
            processor._on_ending(self)


class Mould:
    """Casts the spans of one tracer.

    Args:
        tracer: whose spans.
        pattern: a span that it has just started below another one, without links.

    Attributes:
        span_class: of the spans that are cast.

    Raises:
        ValueError: such spans cannot be cast.
    """

    def __init__(self, tracer: Tracer, pattern: Span) -> None:
        _check(pattern)
        self._tracer = tracer
        found = vars(pattern)
        alike = {name: _kept(found[name]) for name in _KEPT}
        alike["__module__"] = __name__
        ended = type("NodeReadableSpan", (ReadableSpan,), {**alike, "_events": (), "_links": ()})
        self.span_class: type[NodeSpan] = type(
            NodeSpan.__name__, (NodeSpan,), {**alike, "_ended_class": ended}
        )

    def new(
        self, name: str, span_id: int, parent: SpanContext, start_time_unix_ns: int, attributes: dict[str, Any]
    ) -> NodeSpan:  # fmt: skip
        """Return a span that was started just now.

        Args:
            name: of the span.
            span_id: its id.
            parent: the ids of the valid span above, whose flags and state it has.
            start_time_unix_ns: when it started.
            attributes: strings and numbers, which are kept as they are; they belong to it from now on.
        """
        trace_id, _, _, flags, state, _ = parent
        span: Any = object.__new__(self.span_class)
        span.__dict__ = {
            "_resource": self._tracer.resource,
            "_name": name,
            "_context": tuple.__new__(SpanContext, (trace_id, span_id, False, flags, state, True)),
            "_parent": parent,
            "_start_time": start_time_unix_ns,
            "_attributes": attributes,
            "_lock": Lock(),
        }
        return span  # type: ignore[no-any-return] # as above


def _kept(value: Any) -> Any:
    # A function in a class would be a method there.
    return staticmethod(value) if isinstance(value, FunctionType) else value


def _check(pattern: Span) -> None:
    """Raise ValueError unless spans like `pattern` can be cast."""
    found = vars(pattern)
    bounded = found.get("_attributes")
    if type(pattern) is not _Span or found.keys() != _KEPT | _OWN or type(bounded) is not BoundedAttributes:
        raise ValueError("the SDK's spans are not of the kind that is known")
    if vars(bounded).keys() != _OF_ATTRIBUTES or vars(ReadableSpan("x")).keys() - found.keys():
        raise ValueError("the SDK's attributes are not of the kind that is known")
    if bounded.max_value_len is not None or (bounded.maxlen is not None and bounded.maxlen <= _ROOM):
        raise ValueError("the limits for attributes are tight")
    if None in _IDLE_ENDINGS or not _ENDS_BY.issuperset(_Span.end.__code__.co_names):
        raise ValueError("the SDK's spans do not end in the way that is known")
    if type(found["_span_processor"]) is not SynchronousMultiSpanProcessor:
        raise ValueError("the SDK's processors are not of the kind that is known")
    if getattr(found["_record_end_metrics"], "__closure__", None):
        raise ValueError("the SDK counts its spans")
    ids = pattern.get_span_context()
    if tuple(ids) != (ids.trace_id, ids.span_id, False, ids.trace_flags, ids.trace_state, True):
        raise ValueError("the ids are not of the kind that is known")
