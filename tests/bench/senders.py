"""OTLP senders for benchmarks that cost next to nothing themselves: requests made beforehand, over bare sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.bench.server import Server

RECORDS = 512
"""In one request: what the SDK's batch processors send."""

_TRACE = b"TRACE ID OF 16 B"
_RESOURCE = {
    "service.name": "shop", "service.version": "1.2.3", "service.instance.id": "627cc493-f310-47de-96bd-71410b7dec09",
    "process.pid": 7, "host.name": "web-1", "telemetry.sdk.language": "python",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of one signal, each of a trace of its own.

    Attributes:
        path: where they are sent to.
        kind: message class of a request.
        template: one request, of which the trace id is exchanged.
    """

    path: str
    kind: Any
    template: bytes

    def make(self, count: int) -> list[bytes]:
        """Return requests that were never sent before."""
        return [self.template.replace(_TRACE, os.urandom(16)) for _ in range(count)]


def spans() -> Requests:
    """Return requests of spans as a web service sends them: six attributes, two of which are always others."""
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    _attributes(outer.resource.attributes, _RESOURCE)
    inner = outer.scope_spans.add()
    inner.scope.name = "shop.orders"
    now = time.time_ns()
    for number in range(RECORDS):
        span = inner.spans.add(
            trace_id=_TRACE, span_id=os.urandom(8), name="GET /orders/{id}", kind=2,  # type: ignore[arg-type]
            start_time_unix_nano=now + number, end_time_unix_nano=now + number + 10**6,
        )  # fmt: skip
        if number:
            span.parent_span_id = inner.spans[0].span_id
        _attributes(
            span.attributes,
            {
                "http.request.method": "GET", "url.path": f"/orders/{number}", "http.response.status_code": 200,
                "server.address": "shop.example", "retry": False, "elapsed": 0.25 * number,
            },
        )  # fmt: skip
    return Requests("/v1/traces", ExportTraceServiceRequest, request.SerializeToString())


def logs() -> Requests:
    """Return requests of log records with a sentence and four attributes."""
    request = ExportLogsServiceRequest()
    outer = request.resource_logs.add()
    _attributes(outer.resource.attributes, _RESOURCE)
    inner = outer.scope_logs.add()
    inner.scope.name = "shop.orders"
    now = time.time_ns()
    for number in range(RECORDS):
        record = inner.log_records.add(
            trace_id=_TRACE, span_id=b"12345678", time_unix_nano=now + number, severity_number=9, severity_text="INFO",  # type: ignore[arg-type]
        )  # fmt: skip
        record.body.string_value = f"order {number} has been packed and sent in {number} ms"
        _attributes(
            record.attributes,
            {
                "code.function.name": "shop.orders.pack",
                "code.line.number": 42,
                "order": number,
                "customer": "c-17",
            },
        )
    return Requests("/v1/logs", ExportLogsServiceRequest, request.SerializeToString())


def _attributes(target: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
        target.append(KeyValue(key=key, value=AnyValue(**{kind: value})))


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver.

    Attributes:
        port: of OTLP/HTTP.
        process: the command that was started.
    """

    port: int
    process: subprocess.Popen[str]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that serve."""
        main = psutil.Process(self.process.pid)
        return main.children() or [main]

    def cpu_s(self) -> float:
        """Return what they have used of the processors."""
        return sum(sum(one.cpu_times()[:2]) for one in self.workers())

    def rss_mb(self) -> float:
        """Return the resident memory of the largest of them."""
        return max(one.memory_info().rss for one in self.workers()) / 1e6


@contextmanager
def running_receiver(server: Server, workers: int = 1) -> Generator[Receiver, None, None]:
    """Run `pipespan serve` without a token."""
    port = free_port()
    line = [
        sys.executable, "-m", "pipespan", "serve", "--no-token", "--grpc-port", "-1", "--http-port", str(port),
        "--workers", str(workers), "--dsn", server.dsn,
    ]  # fmt: skip
    environ = {**os.environ, "PIPESPAN_STATE_DIR": str(server.state_dir), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        if re.search(r"HTTP on", said) is None:
            raise AssertionError(f"the receiver does not start: {said}")
        try:
            yield Receiver(port, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Sender:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def send(self, path: str, body: bytes) -> None:
        """Send until it is taken: who is asked to come again does so."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode()
        while True:
            self._socket.sendall(head + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = self._socket.recv(65536)
                if not part:
                    raise ConnectionError("the receiver closed the connection")
                answer += part
            length = int(re.search(rb"(?i)content-length: (\d+)", answer)[1])  # type: ignore[index] # it always has one
            rest = length - len(answer.partition(b"\r\n\r\n")[2])
            while rest > 0:
                rest -= len(self._socket.recv(rest))
            status = answer[9:12]
            if status == b"200":
                return
            if status != b"503":
                raise AssertionError(answer)
            time.sleep(0.05)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def send_all(port: int, path: str, bodies: Sequence[bytes] | Iterator[bytes], senders: int) -> float:
    """Send all by so many connections; return the seconds that it took."""
    waiting, lock, failures = iter(bodies), threading.Lock(), []

    def run(sender: Sender) -> None:
        try:
            while True:
                with lock:
                    body = next(waiting, None)
                if body is None:
                    return
                sender.send(path, body)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    with ExitStack() as stack:
        connections = [Sender(port) for _ in range(senders)]
        for one in connections:
            stack.callback(one.close)
        threads = [threading.Thread(target=run, args=(one,)) for one in connections]
        began_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.perf_counter() - began_s
    if failures:
        raise failures[0]
    return took_s


def cpu_of(run: Callable[[], object]) -> float:
    """Return the CPU seconds that `run` takes in this process."""
    began_s = time.process_time()
    run()
    return time.process_time() - began_s
