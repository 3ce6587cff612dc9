"""A place that OTLP goes to, over gRPC and HTTP: it takes, refuses, is busy or says nothing, as a test wants it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipespan.otlp.values import attributes_of

Mode = Literal["takes", "refuses", "busy", "hangs"]

_SERVICES: dict[str, Any] = {
    "trace.v1.TraceService": ExportTraceServiceRequest,
    "logs.v1.LogsService": ExportLogsServiceRequest,
    "metrics.v1.MetricsService": ExportMetricsServiceRequest,
}
_PATHS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}
HANG_S = 30.0


@dataclass
class OtlpSink:
    """What came, and how it is answered."""

    mode: Mode = "takes"
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: int = 0
    grpc: str = ""
    http: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def endpoint(self, protocol: str) -> dict[str, str]:
        """Return the variables that send a program here."""
        place = self.grpc if protocol == "grpc" else self.http
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": place, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}

    def take(self, request: Any, headers: dict[str, str]) -> bool:
        """Take a request; False when it is not taken."""
        self.asked += 1
        if self.mode == "hangs":
            self.over.wait(HANG_S)
        if self.mode != "takes":
            return False
        self.requests.append(request)
        self.headers.append(headers)
        return True

    def spans(self) -> list[Any]:
        """Return the spans that came."""
        return [span for _, scope in self._scopes("resource_spans", "scope_spans") for span in scope.spans]

    def logs(self) -> list[Any]:
        """Return the records that came."""
        return [one for _, scope in self._scopes("resource_logs", "scope_logs") for one in scope.log_records]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events that came, by name, with their attributes."""
        return [(one.event_name, attributes_of(one.attributes)) for one in self.logs() if one.event_name]

    def metrics(self) -> dict[str, list[Any]]:
        """Return the points that came, by the name of their metric."""
        found: dict[str, list[Any]] = {}
        for _, scope in self._scopes("resource_metrics", "scope_metrics"):
            for metric in scope.metrics:
                data = getattr(metric, metric.WhichOneof("data"))
                found.setdefault(metric.name, []).extend(data.data_points)
        return found

    def resources(self) -> list[dict[str, Any]]:
        """Return the attributes of all resources that came."""
        names = ("resource_spans", "resource_logs", "resource_metrics")
        return [
            attributes_of(one.resource.attributes)
            for request in self.requests for name in names for one in getattr(request, name, ())
        ]  # fmt: skip

    def _scopes(self, resources: str, scopes: str) -> Iterator[tuple[Any, Any]]:
        for request in list(self.requests):
            for resource in getattr(request, resources, ()):
                for scope in getattr(resource, scopes):
                    yield resource, scope


@contextmanager
def running_sink(mode: Mode = "takes") -> Iterator[OtlpSink]:
    """Run a sink on free ports of the loopback interface."""
    sink = OtlpSink(mode)
    web = ThreadingHTTPServer(("127.0.0.1", 0), _web_handler(sink))
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server = grpc.server(ThreadPoolExecutor(8))
    for service, kind in _SERVICES.items():
        server.add_generic_rpc_handlers([_rpc_handler(sink, service, kind)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sink.grpc, sink.http = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{web.server_address[1]}"
    try:
        yield sink
    finally:
        sink.over.set()
        web.shutdown()
        web.server_close()
        thread.join()
        server.stop(None).wait(10)


def _rpc_handler(sink: OtlpSink, service: str, kind: Any) -> Any:
    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        if not sink.take(kind.FromString(request), headers):
            is_busy = sink.mode != "refuses"
            context.abort(
                grpc.StatusCode.UNAVAILABLE if is_busy else grpc.StatusCode.INVALID_ARGUMENT, "not now"
            )
        return b""

    method: Callable[..., Any] = export
    return grpc.method_handlers_generic_handler(
        f"opentelemetry.proto.collector.{service}", {"Export": grpc.unary_unary_rpc_method_handler(method)}
    )


def _web_handler(sink: OtlpSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {key.lower(): value for key, value in self.headers.items()}
            is_taken = sink.take(_PATHS[self.path].FromString(body), headers)
            self.send_response(200 if is_taken else 400 if sink.mode == "refuses" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
