# ruff: noqa: SLF001 - a span of the SDK is made here, of what the SDK's own are made of
"""The SDK's span of a node, cast in one piece instead of put together.

Half of what the SDK spends on a span goes into lists for events and links that a node's span hardly ever has, and into
checks of what is known here. A `NodeSpan` is the SDK's span in every other respect: its methods, its processors, its
limits. Its fields are those that a span of the SDK itself was seen to have; where these are not the known ones, or any
other span class was made, there is no mould, and the SDK makes all spans.
"""

from __future__ import annotations

from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, Tracer, _Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanContext

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

_IDLE_ENDINGS: Final = frozenset({SpanProcessor._on_ending, BatchSpanProcessor._on_ending})
"""Do nothing."""

_LATE: Final = frozenset({"_events", "_links"})

_OF_ATTRIBUTES: Final = frozenset({"_dict", "_immutable", "_lock", "dropped", "max_value_len", "maxlen"})

_ROOM: Final = 16
"""More attributes than a node's span starts with: a limit above this can drop none of them."""


class NodeSpan(_Span):
    """A span of the SDK whose lists of events and links come into being when somebody asks for them."""

    def __getattr__(self, name: str) -> Any:
        if name == "_events":
            made: Any = self._new_events()  # type: ignore[no-untyped-call] # as the SDK has it
        elif name == "_links":
            made = self._new_links(())
        else:
            raise AttributeError(name)
        # Two threads may come here at once: the list that is kept is the one both get.
        return vars(self).setdefault(name, made)

    def _readable_span(self) -> ReadableSpan:
        """Return what processors are given: it shares the fields, since nothing changes those of an ended span."""
        mine = self.__dict__
        mine.setdefault("_events", ())
        mine.setdefault("_links", ())
        span: ReadableSpan = object.__new__(ReadableSpan)
        span.__dict__ = mine
        return span

    def end(self, end_time: int | None = None) -> None:
        """End the span, as the SDK does, without asking those who do nothing."""
        with self._lock:
            is_ended = self._end_time is not None
            if not is_ended:
                self._end_time = time_ns() if end_time is None else end_time
                bounded: Any = self._attributes
                bounded._immutable = True
        if is_ended:
            super().end(end_time)  # which warns
            return
        multiple: Any = self._span_processor
        processors = multiple._span_processors
        for processor in processors:
            if type(processor)._on_ending not in _IDLE_ENDINGS:
                processor._on_ending(self)
        readable = self._readable_span()
        for processor in processors:
            processor.on_end(readable)


class Mould:
    """Casts the spans of one tracer.

    Args:
        tracer: whose spans.
        pattern: a span that it has just started below another one, without links.

    Raises:
        ValueError: such spans cannot be cast.
    """

    def __init__(self, tracer: Tracer, pattern: Span) -> None:
        found = vars(pattern)
        bounded = found.get("_attributes")
        if (
            type(pattern) is not _Span
            or found.keys() != _KEPT | _OWN
            or type(bounded) is not BoundedAttributes
        ):
            raise ValueError("the SDK's spans are not of the kind that is known")
        if vars(bounded).keys() != _OF_ATTRIBUTES or vars(ReadableSpan("x")).keys() - found.keys():
            raise ValueError("the SDK's attributes are not of the kind that is known")
        if bounded.max_value_len is not None or (bounded.maxlen is not None and bounded.maxlen <= _ROOM):
            raise ValueError("the limits for attributes are tight")
        if not _ENDS_BY.issuperset(_Span.end.__code__.co_names):
            raise ValueError("the SDK's spans do not end in the way that is known")
        if type(found["_span_processor"]) is not SynchronousMultiSpanProcessor:
            raise ValueError("the SDK's processors are not of the kind that is known")
        if getattr(found["_record_end_metrics"], "__closure__", None):
            raise ValueError("the SDK counts its spans")
        ids = pattern.get_span_context()
        if tuple(ids) != (ids.trace_id, ids.span_id, False, ids.trace_flags, ids.trace_state, True):
            raise ValueError("the ids are not of the kind that is known")
        self._tracer = tracer
        # With a place for each field, so that a copy need not grow.
        self._pattern = {**{name: found[name] for name in _KEPT}, **dict.fromkeys(_OWN - _LATE)}
        self._maxlen = bounded.maxlen

    def new(
        self, name: str, span_id: int, parent: SpanContext, start_time_unix_ns: int, attributes: dict[str, Any]
    ) -> NodeSpan:  # fmt: skip
        """Return a span that was started just now.

        Args:
            name: of the span.
            span_id: its id.
            parent: the ids of the valid span above, whose flags and state it has.
            start_time_unix_ns: when it started.
            attributes: are kept as they are, and belong to it from now on.
        """
        bounded: BoundedAttributes = object.__new__(BoundedAttributes)
        bounded.__dict__ = {
            "_dict": attributes, "maxlen": self._maxlen, "dropped": 0, "max_value_len": None, "_lock": Lock(),
            "_immutable": False,
        }  # fmt: skip
        trace_id, _, _, flags, state, _ = parent
        # A copy, which is a third of what a new dict of as many fields costs.
        mine = self._pattern.copy()
        mine["_resource"] = self._tracer.resource
        mine["_name"] = name
        mine["_context"] = tuple.__new__(SpanContext, (trace_id, span_id, False, flags, state, True))
        mine["_parent"] = parent
        mine["_start_time"] = start_time_unix_ns
        mine["_attributes"] = bounded
        mine["_lock"] = Lock()
        span: NodeSpan = object.__new__(NodeSpan)
        span.__dict__ = mine
        return span
