"""Nodes below sampled ones take a short way to their spans, and nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

from pipespan.otel.spans import SdkSpans
from tests.otel.doubles import inside

ATTRIBUTES = {"pipespan.node.id": "run/step", "pipespan.node.level": "step"}


class Asked(Sampler):
    """Answers as a sampler that looks at each span, and notes what it was asked."""

    def __init__(self) -> None:
        self.attributes: list[dict[str, Any]] = []

    def should_sample(  # noqa: PLR0913, PLR0917 - the SDK's signature
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None,
        attributes: Attributes = None, links: Sequence[Link] | None = None, trace_state: TraceState | None = None,
    ) -> SamplingResult:  # fmt: skip
        self.attributes.append(dict(attributes or {}))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        return "Asked"


class Starts(SpanProcessor):
    """Notes the attributes that spans start with."""

    def __init__(self) -> None:
        self.attributes: list[dict[str, Any]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.attributes.append(dict(span.attributes or {}))


def recorded(provider: TracerProvider, parent: Context | None = None) -> tuple[ReadableSpan, ReadableSpan]:
    """Run a node and two below it; return the spans of the first and the last as exported."""
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    spans = SdkSpans(provider.get_tracer("pipespan"))
    run = spans.start("run", parent or Context(), 1_000, {"pipespan.node.id": "run"})
    # What is learnt by the first is used for the next.
    spans.start("first", inside(run), 1_100, dict(ATTRIBUTES)).end(1_200, "completed", None, None, {})
    step = spans.start("step", inside(run), 2_000, dict(ATTRIBUTES))
    step.end(3_000, "completed", None, None, {"pipespan.progress.completed": 3})
    run.end(4_000, "completed", None, None, {})
    _, below, above = memory.get_finished_spans()
    return above, below


@pytest.mark.parametrize(
    "sampler", [ALWAYS_ON, DEFAULT_ON, ParentBased(ALWAYS_ON), Asked(), ParentBased(Asked())]
)
def test_span_is_the_same_whatever_way_it_took(sampler: Sampler) -> None:
    """Attributes, parent, flags, times and kind do not depend on the sampler that said yes."""
    run, step = recorded(TracerProvider(sampler=sampler))
    assert dict(step.attributes or {}) == {**ATTRIBUTES, "pipespan.progress.completed": 3}
    assert step.parent is not None
    assert run.context is not None
    assert step.context is not None
    assert step.parent.span_id == run.context.span_id
    assert step.context.trace_id == run.context.trace_id
    assert step.context.trace_flags == run.context.trace_flags
    assert step.context.trace_flags.sampled
    assert (step.start_time, step.end_time, step.kind) == (2_000, 3_000, SpanKind.INTERNAL)


def test_sampler_that_looks_at_attributes_sees_them() -> None:
    """A sampler of the program that decides itself is asked, with the node's attributes, for each node."""
    sampler = Asked()
    recorded(TracerProvider(sampler=sampler))
    assert sampler.attributes == [{"pipespan.node.id": "run"}, ATTRIBUTES, ATTRIBUTES]


def test_sampler_for_local_children_is_asked() -> None:
    """One that is set for children of sampled spans decides about nodes below the root."""
    sampler = Asked()
    recorded(TracerProvider(sampler=ParentBased(ALWAYS_ON, local_parent_sampled=sampler)))
    assert sampler.attributes == [ATTRIBUTES, ATTRIBUTES]


def test_processor_sees_attributes_at_the_start() -> None:
    """A processor that looks at starting spans finds the node's attributes, also one that was added late."""
    provider = TracerProvider()
    recorded(provider)
    starts = Starts()
    provider.add_span_processor(starts)
    recorded(provider)
    assert starts.attributes == [{"pipespan.node.id": "run"}, ATTRIBUTES, ATTRIBUTES]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpanLimits(max_span_attributes=1), {"pipespan.progress.completed": 3}),
        (
            SpanLimits(max_span_attribute_length=3),
            {"pipespan.node.id": "run", "pipespan.node.level": "ste", "pipespan.progress.completed": 3},
        ),
    ],
)
def test_limits_of_the_program_hold(limits: SpanLimits, kept: dict[str, Any]) -> None:
    """A limit on attributes is kept as with any span."""
    _, step = recorded(TracerProvider(span_limits=limits))
    assert dict(step.attributes or {}) == kept


def test_trace_state_goes_on() -> None:
    """What vendors put into the trace's state reaches each node."""
    state = TraceState([("vendor", "1")])
    above = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    run, step = recorded(TracerProvider(), set_span_in_context(NonRecordingSpan(above), Context()))
    for span in (run, step):
        assert span.context is not None
        assert span.context.trace_state == state


def test_unsampled_root_has_unsampled_children() -> None:
    """Below a node that is only recorded, nodes are only recorded."""
    ended: list[ReadableSpan] = []

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(Ends())
    spans = SdkSpans(provider.get_tracer("pipespan"))
    run = spans.start("run", Context(), 1_000, {})
    for _ in range(2):
        spans.start("step", inside(run), 2_000, dict(ATTRIBUTES)).end(3_000, "completed", None, None, {})
    run.end(4_000, "completed", None, None, {})
    assert [dict(span.attributes or {}) for span in ended] == [ATTRIBUTES, ATTRIBUTES, {}]
    assert not any(span.context is None or span.context.trace_flags.sampled for span in ended)
