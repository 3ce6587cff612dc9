"""Adapts pipespan's own SDK tracer: records what is not sampled, and takes trace ids from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from pipespan.otel.sampled import ShortWay, follows_local_parent
from pipespan.otel.spans import is_random_trace_id, new_span_id, new_trace_id

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes


class OwnIds(IdGenerator):
    """Gives the trace id that was chosen for the next root, else ids that no `random.seed` repeats."""

    def __init__(self, inner: IdGenerator, chosen: ContextVar[int | None]) -> None:
        self._inner = inner
        self._chosen = chosen
        # A generator that the program picked (for X-Ray, say) has its reasons; the default one has a seed.
        self._is_replaced = type(inner) is RandomIdGenerator

    def generate_span_id(self) -> int:
        """Return a new span id."""
        return new_span_id() if self._is_replaced else self._inner.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return the chosen trace id, else a new one."""
        chosen = self._chosen.get()
        if chosen is not None:
            return chosen
        return new_trace_id() if self._is_replaced else self._inner.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """Tell whether the trace id that was just given is random in its low 56 bits."""
        chosen = self._chosen.get()
        if chosen is not None:
            return is_random_trace_id(chosen)
        return self._is_replaced or bool(getattr(self._inner, "is_trace_id_random", bool)())


class RecordingSampler(Sampler):
    """The program's sampler, with what it drops recorded nevertheless: nodes reach Postgres whatever is exported."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the inner sampler's result, with RECORD_ONLY in place of DROP."""
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is Decision.DROP:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Return the inner sampler's description: that one decides."""
        return self.inner.get_description()


def adapt_tracer(tracer: Any, chosen: ContextVar[int | None]) -> ShortWay | None:
    """Adapt `tracer` if it is one of the SDK; a second time only the source of chosen ids changes.

    Returns the short way for children of sampled nodes where the program's sampler allows one.
    """
    if not isinstance(tracer, Tracer):
        return None
    generator = tracer.id_generator
    inner = generator._inner if isinstance(generator, OwnIds) else generator  # noqa: SLF001 - same class
    tracer.id_generator = OwnIds(inner, chosen)
    if not isinstance(tracer.sampler, RecordingSampler):
        tracer.sampler = RecordingSampler(tracer.sampler)
    return ShortWay(tracer) if follows_local_parent(tracer.sampler.inner) else None
