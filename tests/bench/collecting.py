"""The receiver beside a Collector, for each second of CPU: one writes into Postgres, the other hands on over OTLP."""

from __future__ import annotations

import os
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.senders import RECORDS, free_port, running_receiver, send_all, spans
from tests.bench.server import running_server

_CONFIG = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{sink}
    sending_queue:
      enabled: false
service:
  telemetry:
    metrics:
      level: none
    logs:
      level: error
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp_http]
"""


def against_collector(options: Options) -> dict[str, Samples]:
    """Compare thousands of spans for each second of CPU; without a built Collector the peer is left out."""
    program = _built()
    requests, ours, peer = spans(), [], []
    with running_server() as server, running_receiver(server) as receiver:
        send_all(receiver.port, requests.path, requests.make(10), 2)
        for _ in range(options.pick(9, MIN_PAIRS)):
            bodies = requests.make(options.pick(60, 20))
            before_s = receiver.cpu_s()
            send_all(receiver.port, requests.path, bodies, 2)
            ours.append(len(bodies) * RECORDS / (receiver.cpu_s() - before_s) / 1000)
    if program is None:
        note = "no Collector is built here: `python collector/collector.py build`"
        return {"receive_core": Samples(ours, note=note)}
    with _sink() as sink, _collector(program, sink) as (port, process):
        send_all(port, requests.path, requests.make(10), 2)
        for _ in ours:
            bodies = requests.make(options.pick(200, 60))
            began_s = sum(process.cpu_times()[:2])
            send_all(port, requests.path, bodies, 2)
            took_s = max(sum(process.cpu_times()[:2]) - began_s, 0.01)
            peer.append(len(bodies) * RECORDS / took_s / 1000)
    return {
        "receive_core": Samples(ours, peer, note="the Collector neither looks into spans nor stores them")
    }


def _built() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pipespan" / "collector"
    found = sorted(cache.glob("collector-*/collector"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


@contextmanager
def _collector(program: Path, sink: int) -> Generator[tuple[int, psutil.Process], None, None]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pipespan-bench-") as folder:
        config = Path(folder) / "collector.yaml"
        config.write_text(_CONFIG.format(port=port, sink=sink), encoding="utf-8")
        with subprocess.Popen([program, "--config", config], stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(port)
                yield port, psutil.Process(process.pid)
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            send_all(port, "/v1/traces", [b""], 1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the Collector does not start")


class _Taker(socketserver.StreamRequestHandler):
    """Answers every request with 200 and nothing."""

    def handle(self) -> None:
        while True:
            length = -1
            while (line := self.rfile.readline()) not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if length < 0:
                return
            self.rfile.read(length)
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            )


@contextmanager
def _sink() -> Generator[int, None, None]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Taker) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
