"""OTLP requests become rows: what pipespan sent comes out as it was, what others sent by rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import SeverityNumber
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from pipespan.model.lifecycle import StateRow, event_of
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, NodeRow
from pipespan.otlp.decode import Decoder, UndecodableError
from pipespan.otlp.decoded import Decoded
from pipespan.otlp.rules import NodeRule
from pipespan.store.copytext import encode_row
from tests.fixtures import rows

NOW = 1_760_000_000_000_000_000
TRACE = bytes(range(1, 17))
DECODER = Decoder(NodeRule())


def pair(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=any_value(value))


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list | tuple):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=value)


def logs(*records: dict[str, Any], scope: str = "app", resource: dict[str, Any] | None = None) -> bytes:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.extend(pair(*item) for item in (resource or {}).items())
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.name = scope
    for record in records:
        made = scope_logs.log_records.add(
            **{key: value for key, value in record.items() if key != "attributes"}
        )
        made.attributes.extend(pair(*item) for item in record.get("attributes", {}).items())
    return request.SerializeToString()


def spans(
    *made: Span, scope: str = "lib", resource: dict[str, Any] | None = None
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(
        pair(*item) for item in (resource or {"service.name": "shop", "process.pid": 7}).items()
    )
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope
    scope_spans.spans.extend(made)
    return request


def span(number: int, parent: int | None = None, **changes: Any) -> Span:
    values: dict[str, Any] = {
        "trace_id": TRACE, "span_id": number.to_bytes(8, "big"), "name": f"span {number}",
        "start_time_unix_nano": NOW + number, "end_time_unix_nano": NOW + 1_000 + number,
    }  # fmt: skip
    if parent is not None:
        values["parent_span_id"] = parent.to_bytes(8, "big")
    return Span(**{**values, **changes})


def taken(request: ExportTraceServiceRequest, decoder: Decoder = DECODER) -> Decoded:
    return decoder.decode("traces", request.SerializeToString(), is_json=False, now_unix_ns=NOW)


def test_lifecycle_events_are_the_rows_that_were_sent() -> None:
    """Each state row comes out of its event as the table would hold it."""
    sent: list[StateRow] = [
        rows.experiment(), rows.job("22222222-2222-4222-8222-222222222222"), rows.node("run"),
        rows.event(), rows.metric(),
    ]  # fmt: skip
    records = []
    for row in sent:
        event = event_of(row)
        records.append(
            {
                "event_name": event.name, "time_unix_nano": event.timestamp,
                "severity_number": SeverityNumber.INFO.value, "attributes": dict(event.attributes),
            }
        )  # fmt: skip
    decoded = DECODER.decode("logs", logs(*records, scope="pipespan"), is_json=False, now_unix_ns=NOW)
    assert decoded.rejected == 0
    found = [encode_row(row) for row in decoded.rows]
    assert [encode_row(row) for row in sent] == found[-len(sent) :]


def test_a_damaged_event_spoils_no_other() -> None:
    """It is counted with its reason; the records beside it are taken."""
    good, bad = event_of(rows.node("run")), event_of(rows.node("other"))
    payload = logs(
        {"event_name": good.name, "attributes": dict(good.attributes)},
        {"event_name": bad.name, "attributes": {**bad.attributes, "pipespan.node.level": "stage"}},
        {"trace_id": b"short", "body": any_value("x")},
    )
    decoded = DECODER.decode("logs", payload, is_json=False, now_unix_ns=NOW)
    assert decoded.rejected == 2
    assert "pipespan.node.level" in decoded.reasons[0]
    assert [row.node_id for row in decoded.rows if isinstance(row, NodeRow)] == ["run"]


def test_spans_of_others_become_a_tree() -> None:
    """The root is a pipeline and the experiment's name; below it parents are named by their spans' ids."""
    decoded = taken(spans(span(2, 1), span(1), span(3, 2, end_time_unix_nano=0)))
    nodes = {row.node_id: row for row in decoded.rows if isinstance(row, NodeRow)}
    root, child, leaf = (nodes[f"{number:016x}"] for number in (1, 2, 3))
    assert (root.node_level, root.parent_id, root.status) == ("pipeline", None, "completed")
    assert (child.parent_id, leaf.parent_id) == (root.node_id, child.node_id)
    assert (leaf.status, leaf.end_time) == ("running", None)
    named = [row.name for row in decoded.rows if isinstance(row, ExperimentRow) and row.version]
    assert named == ["span 1"]
    (job,) = (row for row in decoded.rows if isinstance(row, JobRow))
    assert (job.pid, job.experiment_id, {row.job_id for row in nodes.values()}) == (
        7, root.experiment_id, {job.id},
    )  # fmt: skip


def test_exceptions_and_events_of_spans_are_kept() -> None:
    """An exception is an error log with its traceback, another event an event; also of spans outside the tree."""
    noted = span(1, 9)
    noted.status.MergeFrom(SpanStatus(code=SpanStatus.STATUS_CODE_ERROR))
    noted.events.add(name="cache.miss", time_unix_nano=NOW).attributes.append(pair("key", "a"))
    noted.events.add(name="exception", time_unix_nano=NOW).attributes.extend(
        [
            pair("exception.type", "OSError"),
            pair("exception.message", "boom"),
            pair("exception.stacktrace", "tb"),
        ]
    )
    for rule, node_id in (([], f"{1:016x}"), (["!lib"], f"{9:016x}")):
        decoded = taken(spans(noted), Decoder(NodeRule.parse(rule)))
        (error,) = (row for row in decoded.rows if isinstance(row, LogRow))
        (event,) = (row for row in decoded.rows if isinstance(row, EventRow))
        assert (error.level, error.error_type, error.traceback, error.message) == (
            "ERROR",
            "OSError",
            "tb",
            "boom",
        )
        assert (event.event_type, event.details) == ("cache.miss", {"key": "a"})
        assert error.node_id == event.node_id == node_id
        statuses = [row.status for row in decoded.rows if isinstance(row, NodeRow)]
        assert statuses == ([] if rule else ["failed"])


@pytest.mark.parametrize(
    ("patterns", "is_node"),
    [
        ([], True),
        (["lib"], True),
        (["other"], False),
        (["!lib"], False),
        (["!other.*"], True),
        (["*", "!http.request.method=*"], False),
        (["!*", "http.request.method=GET"], True),
    ],
)
def test_rules_choose_nodes(patterns: list[str], *, is_node: bool) -> None:
    """The last pattern that matches decides; a list of what is wanted leaves the rest out."""
    assert NodeRule.parse(patterns).is_node("lib", {"http.request.method": "GET"}) is is_node


@pytest.mark.parametrize(
    ("result", "status"),
    [("success", "completed"), ("failure", "failed"), ("timeout", "failed"), ("cancellation", "cancelled")],
)
def test_cicd_spans_say_how_they_ended(result: str, status: str) -> None:
    """Name and outcome of a CI/CD task come from its attributes."""
    task = span(2, 1)
    task.attributes.extend(
        [pair("cicd.pipeline.task.name", "build"), pair("cicd.pipeline.task.run.result", result)]
    )
    (node,) = (row for row in taken(spans(task)).rows if isinstance(row, NodeRow))
    assert (node.node_name, node.status) == ("build", status)


def test_the_same_sender_has_the_same_job() -> None:
    """Two requests of one process name one job, those of two processes two."""
    jobs = [
        next(row.id for row in taken(spans(span(1), resource={"service.name": "a", "process.pid": pid})).rows
             if isinstance(row, JobRow))
        for pid in (1, 1, 2)
    ]  # fmt: skip
    assert jobs[0] == jobs[1] != jobs[2]


@pytest.mark.parametrize(
    "broken",
    [{"trace_id": b"x"}, {"span_id": b""}, {"trace_id": bytes(16)}, {"start_time_unix_nano": 2**64 - 1}],
)
def test_a_bad_span_is_rejected_alone(broken: dict[str, Any]) -> None:
    """Its reason is told, and the good one beside it is kept."""
    decoded = taken(spans(span(1), span(2, 1, **broken)))
    assert decoded.rejected == 1
    assert decoded.reasons
    assert [row.node_id for row in decoded.rows if isinstance(row, NodeRow)] == [f"{1:016x}"]


def test_json_gives_the_same_rows() -> None:
    """OTLP/JSON with hex ids, 64-bit numbers as text and unknown names means the same as protobuf."""
    request = spans(span(1), span(2, 1))
    as_json = MessageToDict(request)
    for made in as_json["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        made["traceId"], made["unknown"] = TRACE.hex().upper(), {"a": 1}
        made["spanId"] = f"{int(made['name'].split()[1]):016x}"
        if "parentSpanId" in made:
            made["parentSpanId"] = f"{1:016x}"
    payload = json.dumps(as_json).encode()
    assert DECODER.decode("traces", payload, is_json=True, now_unix_ns=NOW) == taken(request)


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
@given(payload=st.binary(max_size=300))
def test_any_bytes_are_answered(signal: Any, payload: bytes) -> None:
    """Garbage is refused as undecodable, or read as far as it can be; nothing else is ever raised."""
    for is_json in (False, True):
        try:
            decoded = DECODER.decode(signal, payload, is_json=is_json, now_unix_ns=NOW)
        except UndecodableError:
            continue
        assert all(encode_row(row).endswith(b"\n") for row in decoded.rows)


def test_nesting_is_bounded() -> None:
    """A value that is nested a thousand times is cut and not followed."""
    deep: Any = {"stringValue": "x"}
    for _ in range(15):
        deep = {"arrayValue": {"values": [deep]}}
    payload = json.dumps(
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": deep, "timeUnixNano": str(NOW)}]}]}]}
    ).encode()
    decoded = DECODER.decode("logs", payload, is_json=True, now_unix_ns=NOW)
    assert [type(row) for row in decoded.rows if isinstance(row, LogRow)] == [LogRow]
    for _ in range(40):
        deep = {"arrayValue": {"values": [deep]}}
    payload = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": deep}]}]}]}).encode()
    decoded = DECODER.decode("logs", payload, is_json=True, now_unix_ns=NOW)
    assert (decoded.rejected, decoded.rows) == (1, [])
    assert "deep" in decoded.reasons[0]
