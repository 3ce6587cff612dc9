"""The short way from a request to lines gives what the long way gives."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from pipespan.model.redact import Redactor
from pipespan.model.redact_rows import RowGate
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.rows import NodeRow
from pipespan.otlp.decode import Decoder, Signal, UndecodableError
from pipespan.otlp.decoded import Decoded
from pipespan.otlp.fastlane import FastLane
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.intake import make_batch
from pipespan.store.copytext import decode_line, decode_span
from tests.otlp.messages import broken, rich_request
from tests.otlp.test_decode import NOW, TRACE

REDACTOR = Redactor(RedactSpec())
RULES = [NodeRule(), NodeRule.parse(["!lib.*"]), NodeRule.parse(["lib.b", "key=*"])]


def outcome(found: Decoded) -> Any:
    """Return everything that would be written, in no order, and what would be answered."""
    gate = RowGate(REDACTOR).row
    batch = make_batch(b"0123456789abcdef", [gate(row) for row in found.rows], found)
    rows = sorted(
        repr(decode_line(row_type, line)) for row_type, lines in batch.lines.items() for line in lines
    )
    spans = sorted(set(map(repr, map(decode_span, batch.spans))))
    return rows, spans, dict(batch.error_logs), found.rejected, len(found.reasons)


def both(signal: Signal, payload: bytes, rule: NodeRule) -> tuple[Any, Any]:
    found = []
    for decoder in (Decoder(rule), Decoder(rule, FastLane(rule, REDACTOR))):
        try:
            found.append(outcome(decoder.decode(signal, payload, is_json=False, now_unix_ns=NOW)))
        except UndecodableError:
            found.append(None)
    return found[0], found[1]


def _value(kind: str, value: Any) -> AnyValue:
    return AnyValue(**{kind: value})


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "GET", "a\\b", 'a"b', "tab\there", "\u2028", "password=hunter2xy", "x" * 300, "\x00", "\u00e9\u00e8"]
)  # fmt: skip
VALUES = st.one_of(
    st.builds(
        _value, st.just("string_value"), TEXTS.filter(lambda text: text.isascii() or text.isprintable())
    ),
    st.builds(_value, st.just("int_value"), st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)),
    st.builds(_value, st.just("double_value"), st.floats()),
    st.builds(_value, st.just("bool_value"), st.booleans()),
    st.builds(_value, st.just("bytes_value"), st.binary(max_size=6)),
    st.just(AnyValue()),
)
KEYS = st.sampled_from(
    [
        "a", "http.request.method", "password", "api_key", "key", "error.type", "event.name", "exception.type",
        "pipespan.node.id", "cicd.pipeline.name", "otel", "process.pid", "", "k\u00e4se", 'qu"ote', "x" * 200,
    ]
)  # fmt: skip
ATTRIBUTES = st.lists(
    st.builds(lambda key, value: KeyValue(key=key, value=value), KEYS, VALUES), max_size=5,
    unique_by=lambda pair: pair.key,
)  # fmt: skip
TRACES = st.sampled_from([TRACE, bytes(16), b"", b"short", TRACE[::-1]])
SPANS = st.sampled_from([b"12345678", b"abcdefgh", bytes(8), b"", b"123456789"])
GOOD_TRACES, GOOD_SPANS = st.just(TRACE), st.sampled_from([b"12345678", b"abcdefgh", b"87654321"])
TIMES = st.sampled_from([0, 1, NOW, NOW + 999, NOW + 10**9, 2**63 - 1, 2**63, 2**64 - 1])


@st.composite
def trace_requests(draw: st.DrawFn) -> bytes:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.extend(draw(ATTRIBUTES))
    for scope in draw(st.lists(st.sampled_from(["lib.a", "lib.b", "pipespan", ""]), max_size=2)):
        inner = outer.scope_spans.add()
        inner.scope.name = scope
        for _ in range(draw(st.integers(0, 4))):
            span = inner.spans.add(
                trace_id=draw(GOOD_TRACES | TRACES), span_id=draw(GOOD_SPANS | SPANS),
                parent_span_id=draw(GOOD_SPANS | SPANS), name=draw(TEXTS),
                kind=draw(st.integers(-1, 9)),  # type: ignore[arg-type]
                start_time_unix_nano=draw(TIMES), end_time_unix_nano=draw(TIMES), attributes=draw(ATTRIBUTES),
            )  # fmt: skip
            if draw(st.booleans()):
                span.status.code = draw(st.integers(0, 4))  # type: ignore[assignment]
                span.status.message = draw(TEXTS)
            if draw(st.integers(0, 5)) == 0:
                span.events.add(name="note", time_unix_nano=NOW)
    return request.SerializeToString()


@st.composite
def log_requests(draw: st.DrawFn) -> bytes:
    request = ExportLogsServiceRequest()
    outer = request.resource_logs.add()
    outer.resource.attributes.extend(draw(ATTRIBUTES))
    inner = outer.scope_logs.add()
    inner.scope.name = draw(TEXTS)
    for _ in range(draw(st.integers(0, 5))):
        record = inner.log_records.add(
            trace_id=draw(GOOD_TRACES | TRACES), span_id=draw(GOOD_SPANS | SPANS), time_unix_nano=draw(TIMES),
            observed_time_unix_nano=draw(TIMES), severity_number=draw(st.integers(-1, 30)),  # type: ignore[arg-type]
            event_name=draw(st.sampled_from(["", "", "", "thing"])), attributes=draw(ATTRIBUTES),
        )  # fmt: skip
        if draw(st.booleans()):
            record.body.CopyFrom(draw(VALUES))
        elif draw(st.booleans()):
            record.body.string_value = "x" * draw(st.sampled_from([0, 1, 126, 127, 128, 129, 16_383, 16_384]))
    return request.SerializeToString()


@given(payload=trace_requests(), rule=st.sampled_from(RULES))
@settings(max_examples=250, deadline=None)
def test_spans_go_either_way(payload: bytes, rule: NodeRule) -> None:
    """Rows, spans that are noted, and what is rejected are the same."""
    slow, fast = both("traces", payload, rule)
    assert slow == fast


@given(payload=log_requests())
@settings(max_examples=250, deadline=None)
def test_logs_go_either_way(payload: bytes) -> None:
    """Rows, counts of errors and what is rejected are the same."""
    slow, fast = both("logs", payload, NodeRule())
    assert slow == fast


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_broken_requests_go_either_way(signal: Signal) -> None:
    """Also of damaged requests the same is taken and the same rejected."""
    payload, chance = rich_request(signal).SerializeToString(), random.Random(f"lanes {signal}")
    for _ in range(1_500):
        slow, fast = both(signal, broken(payload, chance), NodeRule())
        assert slow == fast


def test_usual_spans_do_take_the_short_way() -> None:
    """Of a request of ordinary spans none but the root goes the long way."""
    request = ExportTraceServiceRequest()
    inner = request.resource_spans.add().scope_spans.add()
    for number in range(1, 6):
        inner.spans.add(
            trace_id=TRACE, span_id=number.to_bytes(8, "big"), parent_span_id=(number - 1).to_bytes(8, "big"), name="x",
            start_time_unix_nano=NOW, end_time_unix_nano=NOW + 1,
        ).attributes.add(key="n").value.int_value = number  # fmt: skip
    lane = FastLane(NodeRule(), REDACTOR)
    found = Decoder(NodeRule(), lane).decode(
        "traces", request.SerializeToString(), is_json=False, now_unix_ns=NOW
    )
    assert (len(found.lines[NodeRow]), len([row for row in found.rows if isinstance(row, NodeRow)])) == (4, 1)


def test_a_span_of_no_trace_is_rejected_either_way() -> None:
    """Log records may stand outside of a trace, spans may not."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        span_id=b"12345678", parent_span_id=b"abcdefgh", start_time_unix_nano=1, end_time_unix_nano=1
    )
    slow, fast = both("traces", request.SerializeToString(), NodeRule())
    assert slow == fast == ([], [], {}, 1, 1)
