"""Adapts pipespan's own SDK tracer: records what is not sampled, and takes trace ids from outside."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from pipespan.otel.spans import is_random_trace_id, new_span_id, new_trace_id


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


def adapt_tracer(tracer: Any, chosen: ContextVar[int | None]) -> None:
    """Adapt `tracer` if it is one of the SDK; a second time only the source of chosen ids changes."""
    if not isinstance(tracer, Tracer):
        return
    generator = tracer.id_generator
    inner = generator._inner if isinstance(generator, OwnIds) else generator  # noqa: SLF001 - same class
    tracer.id_generator = OwnIds(inner, chosen)
    try:
        from opentelemetry.sdk.trace.sampling import AlwaysRecordSampler  # noqa: PLC0415 - new in 1.45
    except ImportError:  # SDK before 1.45: what is not sampled is then not recorded as a span either
        return
    if not isinstance(tracer.sampler, AlwaysRecordSampler):
        tracer.sampler = AlwaysRecordSampler(tracer.sampler)
