"""The short way to the span of a node below a sampled one.

Such children are what a pipeline makes most of. With the usual samplers the answer for them is known beforehand, and
their attributes are known to be clean; what the SDK spends on both is more than a span needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags

from pipespan.otel.nodespan import Mould
from pipespan.record.context import SPAN_KEY

if TYPE_CHECKING:
    from opentelemetry.context import Context

_INTERNAL: Final = SpanKind.INTERNAL
_SAMPLED: Final = frozenset({TraceFlags.SAMPLED, TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID})
"""Flags that a sampled child has from its parent."""

_IDLE_STARTS: Final = frozenset({
    SpanProcessor.on_start, BatchSpanProcessor.on_start, SimpleSpanProcessor.on_start
})  # fmt: skip


def follows_local_parent(sampler: Sampler) -> bool:
    """Tell whether `sampler` is known to sample each child of a sampled span of this process."""
    if sampler is ALWAYS_ON:
        return True
    # A subclass may decide otherwise; those of the SDK itself change the root's sampler only.
    decides = type(sampler).should_sample is ParentBased.should_sample
    return decides and getattr(sampler, "_local_parent_sampled", None) is ALWAYS_ON


def _is_sampled_here(ids: SpanContext) -> bool:
    """Tell whether `ids` are those of a sampled span of this process, without state that samplers look at."""
    _, _, is_remote, flags, state, is_valid = ids
    return is_valid and not is_remote and not state and flags in _SAMPLED


class ShortWay:
    """Starts children of sampled spans of this process, where nobody can tell the difference.

    Closed where a processor looks at starting spans, and where `Mould` cannot be made.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._processors: object = None
        self._is_idle = False
        self._has_tried = False
        self._mould: Mould | None = None

    def start(
        self, name: str, parent: Context, start_time_unix_ns: int, attributes: dict[str, Any]
    ) -> Span | None:
        """Return the started span, None when this is no case for the short way.

        Args:
            name: of the span.
            parent: the context with the span above.
            start_time_unix_ns: when it starts.
            attributes: strings and numbers as the SDK would keep them; they belong to the span from now on.
        """
        tracer = self._tracer
        processors = getattr(tracer.span_processor, "_span_processors", None)
        if processors is not self._processors:
            self._look_at(processors)
        above: Any = parent.get(SPAN_KEY)
        if not self._is_idle or above is None or not tracer._is_enabled():  # noqa: SLF001
            return None
        ids: SpanContext = above.get_span_context()
        mould = self._mould
        # A span of the mould has what its parent was looked at for.
        if (mould is None or type(above) is not mould.span_class) and not _is_sampled_here(ids):
            return None
        if mould is None:
            return self._first(name, parent, start_time_unix_ns, attributes)
        return mould.new(name, tracer.id_generator.generate_span_id(), ids, start_time_unix_ns, attributes)

    def _first(
        self, name: str, parent: Context, start_time_unix_ns: int, attributes: dict[str, Any]
    ) -> Span | None:
        """Let the SDK start a span, and make the mould by it."""
        if self._has_tried:
            return None
        self._has_tried = True
        span = self._tracer.start_span(
            name, parent, _INTERNAL, attributes, (), start_time_unix_ns, False, False
        )
        try:
            self._mould = Mould(self._tracer, span)
        except ValueError:
            pass  # the SDK starts all spans then
        return span

    def _look_at(self, processors: Any) -> None:
        self._processors = processors
        self._is_idle = isinstance(processors, tuple) and all(
            type(processor).on_start in _IDLE_STARTS for processor in processors
        )
