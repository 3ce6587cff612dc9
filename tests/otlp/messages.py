"""Requests for tests: good ones of each signal with everything in them, and ways to break them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from pipespan.model.lifecycle import event_of
from tests.fixtures import rows
from tests.otlp.test_decode import NOW, TRACE, any_value, pair

REQUESTS: Final[dict[str, type[Any]]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


def rich_request(signal: str) -> Any:
    """Return a request that uses every part of the protocol that we look at."""
    return {"traces": _traces, "logs": _logs, "metrics": _metrics}[signal]()


def _resource(outer: Any) -> None:
    outer.resource.attributes.extend(
        [pair("service.name", "shop"), pair("process.pid", 7), pair("host.name", "web-1")]
    )


def _values(target: Any) -> None:
    target.extend(
        [
            pair("text", "a\u00e4\u0000b"), pair("whole", -(2**63)), pair("part", 0.5), pair("yes", True),
            pair("list", [1, "two", [3.0]]), pair("nan", float("nan")), pair("empty", ""),
        ]
    )  # fmt: skip
    target.add(key="bytes").value.bytes_value = b"\x00\xff"
    target.add(key="none")
    inner = KeyValueList(values=[pair("k", "v"), pair("k2", [True])])
    target.add(key="map").value.CopyFrom(AnyValue(kvlist_value=inner))


def _traces() -> Any:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    _resource(outer)
    for scope in ("shop.orders", "pipespan"):
        inner = outer.scope_spans.add()
        inner.scope.name = scope
        for number in range(1, 4):
            span = inner.spans.add(
                trace_id=TRACE, span_id=number.to_bytes(8, "big"), name=f"span {number}", kind=2,  # type: ignore[arg-type]
                start_time_unix_nano=NOW, end_time_unix_nano=NOW + number, trace_state="a=b", flags=257,
            )  # fmt: skip
            if number > 1:
                span.parent_span_id = (number - 1).to_bytes(8, "big")
            _values(span.attributes)
            if scope == "pipespan":
                span.attributes.extend(
                    [pair("pipespan.node.id", f"n{number}"), pair("pipespan.node.level", "phase")]
                )
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="bad"))
            event = span.events.add(name="exception", time_unix_nano=NOW)
            event.attributes.extend([pair("exception.type", "E"), pair("exception.stacktrace", "tb")])
            _values(span.events.add(name="note", time_unix_nano=NOW).attributes)
            _values(span.links.add(trace_id=TRACE, span_id=b"12345678").attributes)
    return request


def _logs() -> Any:
    request = ExportLogsServiceRequest()
    outer = request.resource_logs.add()
    _resource(outer)
    inner = outer.scope_logs.add()
    inner.scope.name = "shop"
    for severity in (0, 9, 17, 24):
        record = inner.log_records.add(
            time_unix_nano=NOW, observed_time_unix_nano=NOW, severity_number=severity, severity_text="S",  # type: ignore[arg-type]
            trace_id=TRACE, span_id=b"12345678", event_name="thing" if severity == 17 else "",
        )  # fmt: skip
        record.body.CopyFrom(any_value(f"line {severity}"))
        _values(record.attributes)
    inner.log_records.add().body.CopyFrom(any_value([1, "two"]))
    for row in (rows.node("run"), rows.experiment(), rows.metric()):
        event = event_of(row)
        made = inner.log_records.add(event_name=event.name, time_unix_nano=event.timestamp)
        made.attributes.extend(pair(*item) for item in event.attributes.items())
    return request


def _metrics() -> Any:
    request = ExportMetricsServiceRequest()
    outer = request.resource_metrics.add()
    _resource(outer)
    inner = outer.scope_metrics.add()
    inner.scope.name = "shop"
    gauge = inner.metrics.add(name="temp", unit="C").gauge.data_points
    for value in (1.5, float("nan"), float("inf")):
        _values(gauge.add(time_unix_nano=NOW, as_double=value).attributes)
    gauge.add(time_unix_nano=NOW, as_int=7)
    for temporality in (0, 1, 2):
        total = inner.metrics.add(name=f"orders {temporality}").sum
        total.aggregation_temporality, total.is_monotonic = temporality, True  # type: ignore[assignment]
        point = total.data_points.add(time_unix_nano=NOW, as_int=3)
        point.exemplars.add(trace_id=TRACE, span_id=b"12345678", as_double=1.0)
        histogram = inner.metrics.add(name=f"size {temporality}").histogram
        histogram.aggregation_temporality = temporality  # type: ignore[assignment]
        histogram.data_points.add(
            time_unix_nano=NOW,
            count=3,
            sum=4.5,
            bucket_counts=[1, 2],
            explicit_bounds=[1.0],
            min=0.5,
            max=2.0,
        )
        finer = inner.metrics.add(name=f"fine {temporality}").exponential_histogram
        finer.aggregation_temporality = temporality  # type: ignore[assignment]
        fine = finer.data_points.add(time_unix_nano=NOW, count=3, scale=2, zero_count=1)
        fine.positive.offset, fine.negative.offset = -3, 4
        fine.positive.bucket_counts.extend([1, 0, 2])
    summary = inner.metrics.add(name="quantiles").summary.data_points.add(
        time_unix_nano=NOW, count=2, sum=3.0
    )
    summary.quantile_values.add(quantile=0.5, value=1.0)
    return request


def broken(payload: bytes, chance: random.Random) -> bytes:
    """Return `payload` with one to eight things wrong in it."""
    made = bytearray(payload)
    for _ in range(chance.randint(1, 8)):
        if made:
            chance.choice(_WAYS)(made, chance)
    return bytes(made)


def _flip(made: bytearray, chance: random.Random) -> None:
    made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)


def _set(made: bytearray, chance: random.Random) -> None:
    made[chance.randrange(len(made))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _cut(made: bytearray, chance: random.Random) -> None:
    del made[chance.randrange(len(made)) :]


def _drop(made: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(made))
    del made[start : start + chance.randint(1, 16)]


def _repeat(made: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(made))
    made[start:start] = made[start : start + chance.randint(1, 64)]


def _insert(made: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(made))
    made[start:start] = chance.randbytes(chance.randint(1, 8))


_WAYS: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    _flip, _flip, _set, _cut, _drop, _repeat, _insert,
)  # fmt: skip
