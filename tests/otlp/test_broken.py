"""Broken requests: the right answer each time, no crash, and what is good beside a bad record is kept."""

from __future__ import annotations

import json
import math
import random
import resource
import time
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from pipespan.model.rows import EventRow, JobRow, LogRow, MetricRow, NodeRow
from pipespan.otlp.decode import SIGNALS, Decoder, Signal, UndecodableError
from pipespan.otlp.decoded import Decoded
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.intake import make_batch
from pipespan.store.memory import MemoryStore
from tests.otlp.messages import REQUESTS, broken, rich_request
from tests.otlp.test_decode import NOW, TRACE, any_value, logs, pair, span, spans

DECODER = Decoder(NodeRule())
MB = 1 << 20


def decoded(signal: Signal, payload: bytes, *, is_json: bool = False) -> Decoded:
    return DECODER.decode(signal, payload, is_json=is_json, now_unix_ns=NOW)


def stored(found: Decoded) -> MemoryStore:
    """Ship what was decoded to a store that refuses what Postgres refuses."""
    store = MemoryStore()
    store.ship_requests([make_batch(b"0123456789abcdef", found.rows, found)])
    return store


def as_json(request: Any) -> bytes:
    """Return OTLP/JSON of a request: protobuf's own mapping, with ids in hex."""

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: walk(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [walk(item, key) for item in value]
        if key in {"traceId", "spanId", "parentSpanId"}:
            import base64

            return base64.b64decode(value).hex()
        return value

    return json.dumps(walk(MessageToDict(request))).encode()


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_good_request_is_taken_whole(signal: Signal) -> None:
    """What the fuzzer starts from has nothing wrong with it, in both encodings alike."""
    request = rich_request(signal)
    found = decoded(signal, request.SerializeToString())
    assert (found.rejected, found.reasons) == (0, [])
    assert found.rows
    stored(found)
    assert decoded(signal, as_json(request), is_json=True) == found


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_way_of_cutting_a_request_is_answered(signal: Signal) -> None:
    """Cut anywhere it is undecodable, or the part that is there is read."""
    payload = rich_request(signal).SerializeToString()
    for length in range(len(payload)):
        try:
            found = decoded(signal, payload[:length])
        except UndecodableError:
            continue
        stored(found)
    text = as_json(rich_request(signal))
    for length in range(1, len(text), 7):
        with pytest.raises(UndecodableError):
            decoded(signal, text[:length], is_json=True)


@pytest.mark.parametrize("signal", SIGNALS)
def test_ten_thousand_broken_messages(signal: Signal) -> None:
    """Each is undecodable or gives rows that a store takes or refuses by name; time and memory are bounded."""
    payload = rich_request(signal).SerializeToString()
    chance = random.Random(f"otlp {signal}")
    began_s, taken, refused = time.monotonic(), 0, 0
    memory = 0
    for number in range(10_000):
        if number == 2_000:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            found = decoded(signal, broken(payload, chance))
        except UndecodableError:
            refused += 1
            continue
        make_batch(b"0123456789abcdef", found.rows, found)
        taken += 1
    assert taken > 100
    assert refused > 100
    assert time.monotonic() - began_s < 120
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < 40 * MB


@pytest.mark.parametrize("signal", SIGNALS)
@given(seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_broken_messages_are_stored(signal: Signal, seed: int) -> None:
    """Rows of a damaged request are those that tables take: no row is refused by the store."""
    payload = rich_request(signal).SerializeToString()
    try:
        found = decoded(signal, broken(payload, random.Random(seed)))
    except UndecodableError:
        return
    stored(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "traceId spanId parentSpanId name kind startTimeUnixNano endTimeUnixNano attributes events links status "
    "timeUnixNano severityNumber body eventName gauge sum histogram exponentialHistogram summary dataPoints"
).split()


@pytest.mark.parametrize(
    ("signal", "path"),
    [
        ("traces", ("resourceSpans", "scopeSpans", "spans")),
        ("logs", ("resourceLogs", "scopeLogs", "logRecords")),
        ("metrics", ("resourceMetrics", "scopeMetrics", "metrics")),
    ],
)
@given(record=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6) | JSON)
@settings(max_examples=150, deadline=None)
def test_odd_json_records_spoil_no_other(signal: Signal, path: tuple[str, str, str], record: Any) -> None:
    """Whatever stands where a record should: it is taken or rejected alone, and the good one behind it is kept."""
    good = {
        "traces": {"traceId": TRACE.hex(), "spanId": "1" * 16, "name": "good", "startTimeUnixNano": str(NOW)},
        "logs": {"timeUnixNano": str(NOW), "body": {"stringValue": "good"}},
        "metrics": {"name": "good", "gauge": {"dataPoints": [{"timeUnixNano": str(NOW), "asDouble": 1}]}},
    }[signal]
    payload = json.dumps({path[0]: [{path[1]: [{path[2]: [record, good]}]}]}).encode()
    found = decoded(signal, payload, is_json=True)
    stored(found)
    assert found.rejected <= max(1, len(str(record)))
    assert any(
        (isinstance(row, NodeRow) and row.node_name == "good")
        or (isinstance(row, LogRow) and row.message == "good")
        or (isinstance(row, MetricRow) and "good" in (row.custom_metrics or {}))
        for row in found.rows
    )


@pytest.mark.parametrize(
    ("broken_values", "reason"),
    [
        ({"trace_id": b"x" * 15}, "15 bytes"),
        ({"trace_id": b"x" * 17}, "17 bytes"),
        ({"span_id": b"x" * 16}, "16 bytes"),
        ({"parent_span_id": b"x"}, "1 bytes"),
        ({"span_id": bytes(8)}, "no span id"),
        ({"start_time_unix_nano": 10_413_792_000_000_000_000}, "1970 and 2262"),  # the year 2300
    ],
)
def test_ids_and_times_that_cannot_be(broken_values: dict[str, Any], reason: str) -> None:
    """Such a span is rejected with its reason; its neighbours are kept."""
    found = decoded("traces", spans(span(1), span(2, 1, **broken_values), span(3, 1)).SerializeToString())
    assert found.rejected == 1
    assert reason in found.reasons[0]
    assert [row.node_id for row in found.rows if isinstance(row, NodeRow)] == [f"{1:016x}", f"{3:016x}"]


def test_clocks_that_are_wrong() -> None:
    """An end before the start, the year 1970 and a time to come are kept; no heart beats in the future."""
    backwards = span(1, end_time_unix_nano=NOW - 5_000)
    old = span(2, 1, start_time_unix_nano=1, end_time_unix_nano=2)
    ahead = span(3, 1, start_time_unix_nano=NOW + 10**18, end_time_unix_nano=NOW + 10**18)
    found = decoded("traces", spans(backwards, old, ahead).SerializeToString())
    assert found.rejected == 0
    nodes = {row.node_id: row for row in found.rows if isinstance(row, NodeRow)}
    first = nodes[f"{1:016x}"]
    assert first.end_time == first.start_time == NOW + 1
    assert nodes[f"{2:016x}"].start_time == 1
    (job,) = (row for row in found.rows if isinstance(row, JobRow))
    assert job.heartbeat_at == NOW
    stored(found)


def test_invalid_utf8_is_rejected_alone() -> None:
    """A name that is no UTF-8 makes its record unreadable, and no other."""
    good, bad = span(1), span(2, 1, name="BROKEN")
    payload = spans(good, bad).SerializeToString().replace(b"BROKEN", b"BR\xff\xfeEN")
    found = decoded("traces", payload)
    assert found.rejected == 1
    assert [row.node_id for row in found.rows if isinstance(row, NodeRow)] == [f"{1:016x}"]
    text = logs({"body": any_value("BROKEN")}, {"body": any_value("good")}).replace(
        b"BROKEN", b"BR\xff\xfeEN"
    )
    found = decoded("logs", text)
    assert found.rejected == 1
    assert [row.message for row in found.rows if isinstance(row, LogRow)] == ["good"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_wrong_signal_and_wrong_wire_types(signal: Signal) -> None:
    """A request of another signal, and fields of another wire type, are read as far as they can be."""
    for other in SIGNALS:
        stored(decoded(signal, rich_request(other).SerializeToString()))
    for wire in (b"\x08\x01", b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x0b\x0c"):
        try:
            stored(decoded(signal, wire * 3))
        except UndecodableError:
            continue


def test_ten_thousand_attributes_and_deep_nesting() -> None:
    """Very many attributes and very deep values are bounded; the record is kept or rejected, its neighbour kept."""
    wide = span(1)
    wide.attributes.extend(pair(f"key {number}", "x" * 200) for number in range(10_000))
    deep: Any = any_value("x")
    for _ in range(40):
        outer = type(deep)()
        outer.array_value.values.append(deep)
        deep = outer
    nested = span(2, 1)
    nested.attributes.add(key="deep").value.CopyFrom(deep)
    found = decoded("traces", spans(wide, nested, span(3, 1)).SerializeToString())
    batch = make_batch(b"0123456789abcdef", found.rows, found)
    assert max(len(line) for line in batch.lines[NodeRow]) < 2 * MB
    assert f"{3:016x}" in [row.node_id for row in found.rows if isinstance(row, NodeRow)]
    deeper = b"\x0a\x00"
    for _ in range(5_000):
        inner = (
            b"\x2a"
            + _varint(len(deeper) + 1 + len(_varint(len(deeper))))
            + b"\x0a"
            + _varint(len(deeper))
            + deeper
        )
        deeper = inner
    record = b"\x2a" + _varint(len(deeper)) + deeper
    scope = b"\x12" + _varint(len(record)) + record + b"\x12\x02\x10\x09"
    payload = b"\x12" + _varint(len(scope)) + scope
    found = decoded("logs", b"\x0a" + _varint(len(payload)) + payload)
    assert found.rejected == 1
    assert len([row for row in found.rows if isinstance(row, LogRow)]) == 1


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def test_numbers_that_are_none_are_kept_readable() -> None:
    """NaN and the infinities become text in JSON columns."""
    found = decoded("metrics", rich_request("metrics").SerializeToString())
    shown = [
        value
        for row in found.rows
        if isinstance(row, MetricRow)
        for value in (row.custom_metrics or {}).values()
    ]
    assert "nan" in shown
    assert "inf" in shown
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in shown)


def test_values_to_come_are_unspecified() -> None:
    """Enum values that nobody knows yet spoil nothing, in both encodings."""
    request = spans(span(1, kind=99))
    request.resource_spans[0].scope_spans[0].spans[0].status.code = 77  # type: ignore[assignment]
    (node,) = (row for row in decoded("traces", request.SerializeToString()).rows if isinstance(row, NodeRow))
    assert (node.status, node.metadata["otel"]["kind"]) == ("completed", "unspecified")
    record = {"severityNumber": 99, "body": {"stringValue": "x"}, "timeUnixNano": NOW}
    payload = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    assert [
        row.message for row in decoded("logs", payload, is_json=True).rows if isinstance(row, LogRow)
    ] == ["x"]


@pytest.mark.parametrize(
    "record",
    [
        {"timeUnixNano": str(NOW), "severityNumber": 9, "body": {"stringValue": "x"}},
        {"timeUnixNano": NOW, "severityNumber": "9", "body": {"stringValue": "x"}},
        {
            "time_unix_nano": str(NOW),
            "severity_number": "SEVERITY_NUMBER_INFO",
            "body": {"string_value": "x"},
        },
        {
            "timeUnixNano": float(NOW),
            "severityNumber": 9.0,
            "body": {"stringValue": "x"},
            "toCome": [{}, None],
        },
        {"timeUnixNano": f"{NOW:d}", "severityNumber": 9, "body": {"stringValue": "x"}, "attributes": None},
        {
            "timeUnixNano": str(NOW),
            "severityNumber": 9,
            "body": {"stringValue": "x"},
            "traceId": "",
            "spanId": "",
        },
    ],
)
def test_json_in_every_spelling(record: dict[str, Any]) -> None:
    """Numbers as text or numbers, enums as names or numbers, names in both cases, nulls and unknown names."""
    payload = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    found = decoded("logs", payload, is_json=True)
    (row,) = (row for row in found.rows if isinstance(row, LogRow))
    assert (row.message, row.level) == ("x", "INFO")
    assert abs(row.timestamp - NOW) < 1_000  # a float has no more digits
    assert row.trace_id is None


def test_json_values_in_every_spelling() -> None:
    """Integers as text, doubles as words, bytes as both kinds of base64, lists and maps, ids in both cases."""
    attributes = [
        {"key": "int", "value": {"intValue": "-9223372036854775808"}},
        {"key": "float", "value": {"doubleValue": "NaN"}},
        {"key": "big", "value": {"doubleValue": "1.5e300"}},
        {"key": "bytes", "value": {"bytesValue": "_-8"}},
        {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": False}, {}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}},
        {"key": "none", "value": {}},
    ]
    record = {"traceId": TRACE.hex().upper(), "spanId": "00000000000000AB", "attributes": attributes}
    payload = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    found = decoded("logs", payload, is_json=True)
    (row,) = (row for row in found.rows if isinstance(row, LogRow))
    assert row.context == {
        "int": -(2**63), "float": "nan", "big": 1.5e300, "bytes": "/+8=", "list": [False, None],
        "map": {"a": "b"}, "none": None,
    }  # fmt: skip
    assert (row.trace_id, row.span_id) == (TRACE.hex(), "00000000000000ab")


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"null", b"{", b'"x"', b"\xff\xfe", b'{"resourceLogs": {}}', b'{"resourceLogs": [1]}',
        b'{"resourceLogs": [{"scopeLogs": "x"}]}', b"[" * 100_000, b'{"a":' * 100_000,
    ],
)  # fmt: skip
def test_json_that_is_no_request(payload: bytes) -> None:
    """It is undecodable, however deep it is."""
    with pytest.raises(UndecodableError):
        decoded("logs", payload, is_json=True)


def test_an_empty_request_is_nothing() -> None:
    """A request without anything in it succeeds."""
    for signal in SIGNALS:
        assert decoded(signal, b"") == Decoded()
        assert decoded(signal, b"{}", is_json=True) == Decoded()
        assert decoded(signal, REQUESTS[signal]().SerializeToString()) == Decoded()


def test_an_event_with_a_damaged_time_is_kept_with_its_span() -> None:
    """Its time is that of the span."""
    odd = span(1)
    odd.events.add(name="note", time_unix_nano=2**64 - 1)
    found = decoded("traces", spans(odd).SerializeToString())
    assert found.rejected == 0
    (event,) = (row for row in found.rows if isinstance(row, EventRow))
    assert event.timestamp == NOW + 1_001
