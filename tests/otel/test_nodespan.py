"""Spans that are cast are those that the SDK makes, whatever is done with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider, _Span
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from pipespan.otel.nodespan import Mould, NodeSpan
from pipespan.otel.spans import SdkSpans
from tests.otel.doubles import inside

TIGHT = SpanLimits(
    max_span_attributes=17, max_events=2, max_links=2, max_event_attributes=2, max_link_attributes=2
)
LINKED = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))

texts = st.text(max_size=6)
values = st.one_of(texts, st.integers(-9, 9), st.booleans(), st.lists(texts, max_size=3), st.none())
doings = st.one_of(
    st.tuples(st.just("set_attribute"), texts, values),
    st.tuples(st.just("set_attributes"), st.dictionaries(texts, values, max_size=3)),
    st.tuples(st.just("add_event"), texts, st.dictionaries(texts, values, max_size=3), st.integers(1, 9)),
    st.tuples(st.just("add_link"), st.just(LINKED), st.dictionaries(texts, values, max_size=3)),
    st.tuples(
        st.just("set_status"), st.sampled_from([Status(StatusCode.OK), Status(StatusCode.ERROR, "why")])
    ),
    st.tuples(st.just("update_name"), texts),
    st.tuples(st.just("record_exception"), st.just(ValueError("wrong")), st.none(), st.integers(1, 9)),
    st.tuples(st.just("end"), st.integers(3_000, 4_000)),
)


class Sdk:
    """A provider, a node of it, and two ways to a span below that node."""

    def __init__(self, limits: SpanLimits | None = None) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider(span_limits=limits)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("pipespan")
        self.spans = SdkSpans(self.tracer)
        self.context = inside(self.spans.start("run", Context(), 1_000, {}))
        self.below()

    def below(self) -> Any:
        """Return a span of a node below."""
        return self.spans.start("step", self.context, 2_000, {"a": 1}).span

    def made(self) -> Any:
        """Return one that the SDK made by itself."""
        return self.tracer.start_span(
            "step", self.context, attributes={"a": 1}, start_time=2_000,
            record_exception=False, set_status_on_exception=False,
        )  # fmt: skip

    def exported(self, span: Span) -> ReadableSpan:
        """Return `span` as the exporter got it."""
        (found,) = [one for one in self.memory.get_finished_spans() if one.context == span.get_span_context()]
        return found


def shown(span: ReadableSpan) -> dict[str, Any]:
    """Return all that `span` says, without its own id."""
    document = json.loads(span.to_json())
    document["context"].pop("span_id")
    dropped = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    return {**document, "dropped": dropped, "scope": str(span.instrumentation_scope)}


@given(done=st.lists(doings, max_size=8), limits=st.sampled_from([None, TIGHT]))
def test_whatever_is_done_with_it(done: list[tuple[Any, ...]], limits: SpanLimits | None) -> None:
    """What it answers and what is exported are those of the SDK's own span."""
    sdk = Sdk(limits)
    cast, made = sdk.below(), sdk.made()
    assert isinstance(cast, NodeSpan)
    assert type(made) is _Span
    for name, *args in [*done, ("end", 5_000)]:
        answers = [getattr(span, name)(*args) for span in (cast, made)]
        assert answers[0] == answers[1]
        assert cast.is_recording() == made.is_recording()
        assert shown(cast) == shown(made)
    assert shown(sdk.exported(cast)) == shown(sdk.exported(made))


def test_it_is_a_span_of_the_sdk() -> None:
    """Its ids are those of a child, and it has each field that the SDK's own has."""
    sdk = Sdk()
    cast, made = sdk.below(), sdk.made()
    assert isinstance(cast, Span)
    assert cast.get_span_context()[::2] == made.get_span_context()[::2]
    assert cast.get_span_context() != made.get_span_context()
    assert (cast.events, cast.links, cast.dropped_events) == ((), (), 0)
    of_its_own = {"_context", "_lock", "_attributes", "_events", "_links"}
    for name, value in vars(made).items():
        assert name in of_its_own or getattr(cast, name) == value, name
        assert hasattr(cast, name), name
    with pytest.raises(AttributeError):
        _ = vars(NodeSpan)["__getattr__"](cast, "nothing")


def test_what_two_threads_add_is_kept() -> None:
    """The list of events, and what guards attributes, come into being once, whoever asks first."""
    sdk = Sdk()

    def add(span: Any, name: str) -> None:
        span.add_event(name)
        span.set_attribute(name, True)

    for _ in range(200):
        span = sdk.below()
        threads = [Thread(target=add, args=(span, name)) for name in ("b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {event.name for event in span.events} == {"b", "c"}
        assert dict(span.attributes) == {"a": 1, "b": True, "c": True}


def _another_field(span: Any) -> None:
    span._new = 1


def _another_class(span: Any) -> None:
    span.__class__ = type("Other", (_Span,), {})


def _other_attributes(span: Any) -> None:
    span._attributes.more = 1


def _counted(span: Any) -> None:
    span._record_end_metrics = lambda: span


def _remote(span: Any) -> None:
    span._context = LINKED


@pytest.mark.parametrize(
    "change",
    [_another_field, _another_class, _other_attributes, _counted, _remote],
    ids=lambda one: one.__name__,
)
def test_of_what_is_not_known_there_is_no_mould(change: Callable[[Any], None]) -> None:
    """An SDK with other fields makes its spans itself."""
    sdk = Sdk()
    pattern = sdk.made()
    Mould(sdk.tracer, pattern)  # type: ignore[arg-type] # an SDK tracer
    change(pattern)
    with pytest.raises(ValueError, match="of the kind that is known|counts its spans"):
        Mould(sdk.tracer, pattern)  # type: ignore[arg-type] # as above


class _Listening(SpanProcessor):
    """Notes what it is told of spans that end."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def _on_ending(self, span: Any) -> None:
        self.told.append(("ending", span.is_recording()))

    def on_end(self, span: ReadableSpan) -> None:
        self.told.append(("end", span.end_time is None))


def test_who_looks_at_ending_spans_is_asked() -> None:
    """All processors hear of its end in the SDK's order, also those that came after it was started."""
    heard = []
    for way in (Sdk.below, Sdk.made):
        sdk = Sdk()
        span, first, second = way(sdk), _Listening(), _Listening()
        sdk.provider.add_span_processor(first)
        sdk.provider.add_span_processor(second)
        span.end(5_000)
        span.end(6_000)
        heard.append((first.told, second.told, sdk.exported(span).end_time))
    assert heard[0] == heard[1]
    assert heard[0][0] == [("ending", False), ("end", False)]


def test_an_sdk_whose_spans_end_in_another_way_ends_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its `end` does beside is done."""
    before, done = _Span.end, []

    def end(self: Any, end_time: int | None = None) -> None:
        done.append(self.name)
        before(self, end_time)

    monkeypatch.setattr(_Span, "end", end)
    sdk = Sdk()
    sdk.below().end(5_000)
    assert done == ["step"]


def test_without_a_mould_the_sdk_makes_all_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is new in every span: nodes have spans nevertheless."""
    before = _Span.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        before(self, *args, **kwargs)
        self._more = 1

    monkeypatch.setattr(_Span, "__init__", init)
    sdk = Sdk()
    assert [type(sdk.below()) for _ in range(3)] == [_Span] * 3


def test_a_tracer_that_is_switched_off() -> None:
    """No span is cast for it."""
    sdk = Sdk()
    assert isinstance(sdk.below(), NodeSpan)
    vars(sdk.tracer)["_tracer_config"].is_enabled = False
    assert not sdk.below().is_recording()
