"""A receiver as a process of its own, and requests to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

TOKEN = "let-me-in"
PROTOBUF = "application/x-protobuf"
Rows = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class Place:
    """Where a receiver listens."""

    grpc: str
    http: str
    process: subprocess.Popen[str]

    def post(
        self, path: str, body: bytes, media: str = PROTOBUF, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """POST and return status, headers and body."""
        named = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if token is not None:
            named["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.http}{path}", data=body, headers=named, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()


@contextmanager
def receiver(dsn: str, folder: Path, *args: str) -> Iterator[Place]:
    """Run `pipespan serve` on free ports."""
    environ = {
        **os.environ, "PIPESPAN_DSN": dsn, "PIPESPAN_STATE_DIR": str(folder), "PIPESPAN_SERVE_TOKEN": TOKEN,
        "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    line = [sys.executable, "-m", "pipespan", "serve", "--grpc-port", "0", "--http-port", "0", *args]
    with subprocess.Popen(
        line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"gRPC on (\S+), .*HTTP on (http\S+);", said)
        assert found is not None, said + process.stdout.read()
        try:
            yield Place(found[1], found[2], process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(what: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until `what` holds."""
    deadline_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def connect(place: Place) -> socket.socket:
    """Return a bare connection to the HTTP port."""
    host, _, port = place.http.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(path: str, length: int, token: str | None = TOKEN) -> bytes:
    """Return the head of a request."""
    shown = "" if token is None else f"authorization: Bearer {token}\r\n"
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\n{shown}content-length: {length}\r\n\r\n"
    ).encode()


def export(place: Place, signal_name: str, body: bytes, token: str | None = TOKEN) -> bytes:
    """Send one request over gRPC; raises `grpc.RpcError`."""
    service = {
        "traces": "trace.v1.TraceService",
        "logs": "logs.v1.LogsService",
        "metrics": "metrics.v1.MetricsService",
    }
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(place.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        call: Any = channel.unary_unary(f"/opentelemetry.proto.collector.{service[signal_name]}/Export")
        answer: bytes = call(body, metadata=metadata, timeout=20)
        return answer
