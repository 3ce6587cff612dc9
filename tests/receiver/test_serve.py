"""The receiver as senders meet it: real servers, real exporters, a real database."""

from __future__ import annotations

import gzip
import json
import signal
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.otlp.test_decode import any_value, logs, span, spans
from tests.receiver.support import PROTOBUF, TOKEN, Place, Rows, receiver


@pytest.fixture
def place(dsn: str, tmp_path: Path) -> Iterator[Place]:
    with receiver(dsn, tmp_path / "state") as found:
        yield found


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_spans_of_another_program_are_a_tree(place: Place, rows: Rows, transport: str) -> None:
    """The exporters of the SDK send; when they return, nodes, job and experiment are in the tables."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    exporter: Any = (
        GrpcSpans(endpoint=place.grpc, insecure=True, headers=headers)
        if transport == "grpc"
        else HttpSpans(endpoint=f"{place.http}/v1/traces", headers=headers)
    )
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    with tracer.start_as_current_span("order") as order, tracer.start_as_current_span("pay"):
        pass
    provider.shutdown()
    found = rows("select node_name, parent_id, status from pipeline_progress order by start_time")
    assert found == [
        {"node_name": "order", "parent_id": None, "status": "completed"},
        {"node_name": "pay", "parent_id": f"{order.get_span_context().span_id:016x}", "status": "completed"},
    ]
    (experiment,) = rows("select name, status from experiments")
    assert experiment == {"name": "order", "status": "completed"}


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "deflate"])
def test_bodies_come_in_every_encoding(place: Place, rows: Rows, encoding: str) -> None:
    """Unpacked, gzip and deflate; the answer is an empty message of the same kind."""
    body = logs({"body": any_value("hello"), "time_unix_nano": 1_760_000_000_000_000_000})
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}.get(encoding, body)
    status, headers, answer = place.post("/v1/logs", packed, content_encoding=encoding)
    assert (status, headers["content-type"], answer) == (200, PROTOBUF, b"")
    assert rows("select message from pipeline_logs") == [{"message": "hello"}]


def test_a_request_that_is_sent_twice_is_written_once(place: Place, rows: Rows) -> None:
    """A sender that has lost the acknowledgement sends again, and is told that all is well."""
    body = logs({"body": any_value("once"), "time_unix_nano": 1_760_000_000_000_000_000})
    assert [place.post("/v1/logs", body)[0] for _ in range(3)] == [200, 200, 200]
    assert rows("select message from pipeline_logs") == [{"message": "once"}]


def test_good_records_beside_bad_ones_are_kept(place: Place, rows: Rows) -> None:
    """Partial success tells how many were rejected and why."""
    body = logs({"body": any_value("good"), "time_unix_nano": 10**18}, {"trace_id": b"short"})
    status, _, answer = place.post("/v1/logs", body)
    response = ExportLogsServiceResponse.FromString(answer)
    assert (status, response.partial_success.rejected_log_records) == (200, 1)
    assert "bytes" in response.partial_success.error_message
    assert rows("select message from pipeline_logs") == [{"message": "good"}]


@pytest.mark.parametrize(
    ("path", "media", "body", "headers", "status"),
    [
        ("/v1/traces", PROTOBUF, b"\xff\xff", {}, 400),
        ("/v1/traces", "application/json", b"{", {}, 400),
        ("/v1/traces", "text/plain", b"x", {}, 415),
        ("/v1/traces", PROTOBUF, b"x", {"content_encoding": "br"}, 415),
        ("/v1/traces", PROTOBUF, b"x", {"content_encoding": "gzip"}, 400),
        ("/v1/elsewhere", PROTOBUF, b"", {}, 404),
        ("/v1/traces", PROTOBUF, gzip.compress(bytes((64 << 20) + 1)), {"content_encoding": "gzip"}, 413),
    ],
)
def test_what_cannot_help_to_send_again_is_refused(
    place: Place, path: str, media: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Each mistake has the status that makes a sender drop the request, and says what it was."""
    found, answered, text = place.post(path, body, media, **headers)
    assert found == status
    if media == PROTOBUF:
        assert Status.FromString(text).message
    else:
        assert answered["content-type"] in {"application/json", PROTOBUF}


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_who_shows_no_token_is_turned_away(place: Place, token: str | None) -> None:
    """Over HTTP 401, over gRPC UNAUTHENTICATED."""
    assert place.post("/v1/logs", b"", token=token)[0] == 401
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(place.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        export: Any = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        export(b"", metadata=metadata, timeout=10)
    assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_secrets_are_hidden(place: Place, rows: Rows) -> None:
    """What other programs send passes the same gate as our own rows."""
    body = logs({"body": any_value("login with password=hunter2xy"), "time_unix_nano": 10**18})
    assert place.post("/v1/logs", body)[0] == 200
    (row,) = rows("select message from pipeline_logs")
    assert "hunter2xy" not in row["message"]


def test_json_is_answered_in_json(place: Place, rows: Rows) -> None:
    """OTLP/JSON goes in and JSON comes back."""
    body = {
        "resourceLogs": [
            {"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hi"}, "severityNumber": 17}]}]}
        ]
    }
    status, headers, answer = place.post("/v1/logs", json.dumps(body).encode(), "application/json")
    assert (status, headers["content-type"], json.loads(answer)) == (200, "application/json", {})
    assert rows("select message, level from pipeline_logs") == [{"message": "hi", "level": "ERROR"}]


def test_a_database_that_is_away_asks_to_come_again(place: Place, rows: Rows) -> None:
    """503 with Retry-After, UNAVAILABLE with RetryInfo; when it is back the same request is written."""
    body = spans(span(1)).SerializeToString()
    rows("alter table pipeline_progress rename to away")
    status, headers, _ = place.post("/v1/traces", body)
    assert (status, headers["retry-after"]) == (503, "1")
    with grpc.insecure_channel(place.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        export: Any = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        export(body, metadata=[("authorization", f"Bearer {TOKEN}")], timeout=10)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    called: Any = failure.value
    trailers = {key for key, _ in called.trailing_metadata()}
    assert {"grpc-status-details-bin", "google.rpc.retryinfo-bin"} <= trailers
    rows("alter table away rename to pipeline_progress")
    assert place.post("/v1/traces", body)[0] == 200
    assert rows("select node_name from pipeline_progress") == [{"node_name": "span 1"}]


def test_health_tells_what_was_done(place: Place) -> None:
    """Requests by their answer, rows, and what was there before."""
    body = logs({"body": any_value("once"), "time_unix_nano": 10**18})
    assert [place.post("/v1/logs", one)[0] for one in (body, body, b"\xff")] == [200, 200, 400]
    with urllib.request.urlopen(f"{place.http}/health", timeout=10) as response:  # noqa: S310
        told = json.load(response)
    assert (told["requests"], told["repeated"]) == ({"accepted": 2, "undecodable": 1}, 1)


def test_it_ends_in_order(dsn: str, tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0."""
    with receiver(dsn, tmp_path / "state") as place:
        place.process.send_signal(signal.SIGTERM)
        assert place.process.wait(20) == 0
