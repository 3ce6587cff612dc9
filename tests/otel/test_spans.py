"""Nodes have spans of the right shape with an SDK, and ids without one."""

from __future__ import annotations

import os
import random
import uuid
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from pipespan.otel.spans import PlainSpans, SdkSpans, is_random_trace_id, new_trace_id
from pipespan.record.ports import SpanHandle, Spans
from tests.otel.doubles import inside

GIVEN = uuid.UUID("6f1c8f1e-4f0b-4a3e-9a51-0a6d2f4b9c11")


class Sdk:
    """A tracer provider of its own with everything that ends in it."""

    def __init__(self, sampler: Sampler | None = None, ids: IdGenerator | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, id_generator=ids, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("pipespan")
        self.spans = SdkSpans(self.tracer)

    def finished(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def start(
    spans: Spans, name: str, parent: Context | None = None, trace_id: int | None = None, **attributes: Any
) -> SpanHandle:
    return spans.start(
        name, parent=parent or Context(), start_time_unix_ns=1_000, attributes=attributes, trace_id=trace_id
    )


def end(handle: SpanHandle, **outcome: Any) -> None:
    values: dict[str, Any] = {"status": "completed", "error_type": None, "message": None, "attributes": {}}
    handle.end(end_time_unix_ns=9_000, **{**values, **outcome})


def test_nested_nodes_are_nested_spans() -> None:
    """Parents, times, kind and attributes of the spans are those of the nodes."""
    sdk = Sdk()
    run = start(sdk.spans, "run", key="start")
    step = start(sdk.spans, "step", inside(run))
    end(step, attributes={"pipespan.progress.completed": 3})
    end(run)
    spans = sdk.finished()
    child, root = spans["step"], spans["run"]
    assert root.parent is None
    assert child.parent is not None
    assert (child.parent.trace_id, child.parent.span_id) == (run.trace_id, run.span_id)
    assert (child.start_time, child.end_time, child.kind) == (1_000, 9_000, SpanKind.INTERNAL)
    assert dict(root.attributes or {}) == {"key": "start"}
    assert (child.attributes or {})["pipespan.progress.completed"] == 3
    assert root.status.status_code is StatusCode.UNSET


def test_failure_is_the_status_of_the_span() -> None:
    """A failed node has an ERROR span that says why, once."""
    sdk = Sdk()
    end(start(sdk.spans, "run"), status="failed", error_type="app.ShardError", message="shard 3 is gone")
    span = sdk.finished()["run"]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "shard 3 is gone")
    assert (span.attributes or {})["error.type"] == "app.ShardError"
    assert (span.attributes or {})["pipespan.node.outcome"] == "failure"
    assert span.events == ()


def test_cancelled_node_is_no_error() -> None:
    """A cancellation has its own outcome."""
    sdk = Sdk()
    end(start(sdk.spans, "run"), status="cancelled", error_type="KeyboardInterrupt")
    span = sdk.finished()["run"]
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["pipespan.node.outcome"] == "cancellation"


def test_start_leaves_the_current_span_alone() -> None:
    """Starting a node's span does not make it current: that is done with its context."""
    sdk = Sdk()
    handle = start(sdk.spans, "run")
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert trace.get_current_span(inside(handle)).get_span_context().span_id == handle.span_id


def test_unsampled_nodes_are_recorded_and_not_exported() -> None:
    """With sampling off, processors still see nodes and other libraries' spans are still dropped."""
    seen: list[str] = []

    class Watch(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span.name)

    sdk = Sdk(sampler=ALWAYS_OFF)
    sdk.provider.add_span_processor(Watch())
    run = start(sdk.spans, "run")
    library = sdk.provider.get_tracer("library").start_span("library", inside(run))
    step = start(sdk.spans, "step", trace.set_span_in_context(library, inside(run)))
    end(step)
    library.end()
    end(run)
    assert seen == ["step", "run"]
    assert step.trace_id == run.trace_id
    assert sdk.finished() == {}


def test_given_trace_id_is_the_roots() -> None:
    """A root takes the trace id of its experiment; a child keeps its parent's; the next root has its own."""
    sdk = Sdk()
    run = start(sdk.spans, "run", trace_id=GIVEN.int)
    child = start(sdk.spans, "child", inside(run), trace_id=77)
    other = start(sdk.spans, "other")
    assert run.trace_id == child.trace_id == GIVEN.int
    assert other.trace_id != GIVEN.int


@pytest.mark.parametrize(
    ("trace_id", "is_random"),
    [(GIVEN.int, True), (uuid.UUID("0190a5d8-7c3a-7bbb-8000-000000000001").int, False), (7, False)],
)
def test_random_flag_is_set_for_random_ids_only(trace_id: int, *, is_random: bool) -> None:
    """Samplers downstream may trust the low bits of a version 4 UUID, of no other given id."""
    sdk = Sdk()
    handle = start(sdk.spans, "run", trace_id=trace_id)
    flags = trace.get_current_span(inside(handle)).get_span_context().trace_flags
    assert flags.random_trace_id is is_random
    assert is_random_trace_id(trace_id) is is_random


def test_ids_do_not_repeat_when_the_program_seeds_random() -> None:
    """`random.seed` neither repeats our ids nor is its sequence used up by them."""
    sdk = Sdk()
    seen: set[tuple[int, int]] = set()
    numbers: set[float] = set()
    for spans in (sdk.spans, sdk.spans, PlainSpans(), PlainSpans()):
        random.seed(42)
        handle = start(spans, "run")
        seen.add((handle.trace_id, handle.span_id))
        numbers.add(random.random())
    assert len({trace_id for trace_id, _ in seen}) == 4
    assert len({span_id for _, span_id in seen}) == 4
    assert len(numbers) == 1


def test_id_generator_of_the_program_is_kept() -> None:
    """Ids of a generator that the program picked are used, also when spans are set up twice."""

    class Counted(IdGenerator):
        count = 0

        def generate_span_id(self) -> int:
            self.count += 1
            return self.count

        def generate_trace_id(self) -> int:
            return 500

    sdk = Sdk(ids=Counted())
    again = SdkSpans(sdk.tracer)
    assert start(again, "run").trace_id == 500
    assert start(again, "given", trace_id=GIVEN.int).trace_id == GIVEN.int
    assert sdk.provider.get_tracer("other").id_generator is sdk.provider.id_generator  # type: ignore[attr-defined]


def test_ratio_sampler_and_given_id_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A given id makes a ratio sampler all or nothing, which is said once."""
    sdk = Sdk(sampler=TraceIdRatioBased(0.5))
    start(sdk.spans, "a", trace_id=GIVEN.int)
    start(sdk.spans, "b", trace_id=GIVEN.int)
    assert [record.name for record in caplog.records] == ["pipespan"]
    assert "TraceIdRatioBased" in caplog.text


class RaisingTracer(trace.NoOpTracer):
    def start_span(self, *args: Any, **options: Any) -> trace.Span:
        raise RuntimeError("tracer")


class EchoTracer(trace.NoOpTracer):
    """Hands out the parent's span, as a tracer of the SDK that is switched off."""

    def start_span(self, name: str, context: Context | None = None, *args: Any, **options: Any) -> trace.Span:
        return NonRecordingSpan(trace.get_current_span(context).get_span_context())


@pytest.mark.parametrize("tracer", [trace.NoOpTracer(), RaisingTracer(), EchoTracer()])
def test_node_has_ids_whatever_the_tracer_does(tracer: trace.Tracer) -> None:
    """A tracer that refuses, raises or hands the parent's ids on leaves a node with ids of its own."""
    spans = SdkSpans(tracer)
    run = start(spans, "run")
    step = start(spans, "step", inside(run))
    assert run.trace_id == step.trace_id != 0
    assert 0 != run.span_id != step.span_id != 0
    end(step)
    end(run)


def test_processor_that_raises_does_not_reach_the_program() -> None:
    """Processors of the program may raise at start and end; the node goes on."""

    class Broken(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            raise RuntimeError("start")

    class BrokenEnd(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("end")

    for processor in (Broken(), BrokenEnd()):
        sdk = Sdk()
        sdk.provider.add_span_processor(processor)
        handle = start(sdk.spans, "run")
        assert handle.span_id
        end(handle)


def test_plain_spans_propagate_ids() -> None:
    """Without an SDK a child has its parent's trace, and a root the one that is given."""
    spans = PlainSpans()
    run = start(spans, "run", trace_id=GIVEN.int)
    step = start(spans, "step", inside(run))
    assert run.trace_id == step.trace_id == GIVEN.int
    assert run.span_id != step.span_id
    context = trace.get_current_span(inside(step)).get_span_context()
    assert (context.trace_id, context.span_id, context.is_valid) == (GIVEN.int, step.span_id, True)
    assert context.trace_flags.sampled
    end(step, status="failed", error_type="X", message="m")


def test_plain_root_stays_in_a_foreign_trace() -> None:
    """Inside somebody else's span a root keeps that trace and its flags."""
    foreign = SpanContext(0xF0, 0xF1, is_remote=True, trace_flags=TraceFlags(TraceFlags.DEFAULT))
    parent = trace.set_span_in_context(NonRecordingSpan(foreign), Context())
    run = start(PlainSpans(), "run", parent, trace_id=GIVEN.int)
    assert run.trace_id == 0xF0
    assert not trace.get_current_span(inside(run)).get_span_context().trace_flags.sampled


def test_only_our_tracer_is_adapted() -> None:
    """Sampler and ids of the provider and of other tracers stay what they were."""
    sdk = Sdk(sampler=ALWAYS_OFF)
    other = sdk.provider.get_tracer("other")
    assert isinstance(other, Tracer)
    assert other.sampler is ALWAYS_OFF
    assert sdk.provider.sampler is ALWAYS_OFF


def _accepts(spans: Spans, attributes: dict[str, Any]) -> SpanHandle:
    return spans.start("n", parent=Context(), start_time_unix_ns=0, attributes=attributes, trace_id=None)


def test_both_kinds_answer_the_port() -> None:
    """SDK and plain spans are the same to the recorder."""
    for spans in (Sdk().spans, PlainSpans()):
        handle = _accepts(spans, {"a": 1})
        assert handle.trace_id
        assert handle.span_id


def test_forked_children_have_ids_of_their_own() -> None:
    """A child process does not repeat the ids that its parent or its siblings give next."""
    read, write = os.pipe()
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.write(write, f"{new_trace_id():032x}\n".encode())
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as answers:
        ids = {*answers.read().split(), f"{new_trace_id():032x}"}
    assert len(ids) == 3
