"""Real Collectors, receivers and a database, each of which a test may kill and start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pipespan
from tests.wiring.server import Server

COLLECTOR = Path(__file__).parents[2] / "collector"
PROGRAM = Path(__file__).with_name("program.py")
START_TIMEOUT_S = 30.0
AGENT_TOKEN, SERVE_TOKEN = "let-agents-in", "let-gateways-in"


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(is_so: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Tell whether somebody listens on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def clean_environment() -> dict[str, str]:
    """Return the environment without what would set pipespan, OpenTelemetry or a Collector."""
    prefixes = ("PIPESPAN_", "OTEL_", "COLLECTOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1", "PIPESPAN_WATCHER": "0"}


@dataclass
class Part:
    """A process that a test kills and starts again at the same place."""

    line: list[str]
    environ: Mapping[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.line, env={**clean_environment(), **self.environ}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip
        process = self.process
        until(lambda: listens(self.port) or process.poll() is not None, f"{self.line} does not listen")
        assert process.poll() is None, self.said()

    def kill(self) -> None:
        """End it as an operator's `kill -9` or the kernel would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            finally:
                self.kill()

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


@dataclass
class Database:
    """The server, as one of the parts."""

    server: Server

    def start(self) -> None:
        self.server.start()

    def kill(self) -> None:
        self.server.kill()


@dataclass
class Stack:
    """agent -> gateway -> two receivers -> one database."""

    folder: Path
    database: Database
    parts: dict[str, Part | Database] = field(default_factory=dict)
    http_ports: list[int] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.database.server.dsn()

    @property
    def agent(self) -> str:
        """Endpoint of OTLP/gRPC for programs."""
        return f"127.0.0.1:{self._part('agent').port}"

    def _part(self, name: str) -> Part:
        part = self.parts[name]
        assert isinstance(part, Part)
        return part

    def counts(self) -> Counter[str]:
        """Return how many requests the receivers have answered, by kind of answer."""
        found: Counter[str] = Counter()
        for port in self.http_ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as response:  # noqa: S310
                found.update(json.load(response)["requests"])
        return found

    def settle(self, quiet_s: float = 2.5) -> None:
        """Wait until no request has come for longer than a Collector of this stack waits before it tries again."""
        counts, since = self.counts(), time.monotonic()
        while time.monotonic() - since < quiet_s:
            time.sleep(0.05)
            now = self.counts()
            if now != counts:
                counts, since = now, time.monotonic()

    def said(self) -> str:
        """Return what the parts have printed."""
        return "\n".join(
            f"{name}:\n{part.said()}" for name, part in self.parts.items() if isinstance(part, Part)
        )


def receiver(folder: Path, dsn: str, name: str, token: str | None = SERVE_TOKEN) -> tuple[Part, int]:
    """Return a `pipespan serve` that is not started, and its port of HTTP."""
    grpc_port, http_port = free_port(), free_port()
    line = [
        sys.executable, "-m", "pipespan", "serve", "--grpc-port", str(grpc_port), "--http-port", str(http_port),
        *(["--no-token"] if token is None else []),
    ]  # fmt: skip
    environ = {"PIPESPAN_DSN": dsn, "PIPESPAN_STATE_DIR": str(folder / name)}
    if token is not None:
        environ["PIPESPAN_SERVE_TOKEN"] = token
    return Part(line, environ, grpc_port, folder / f"{name}.log"), http_port


def collector(program: Path, folder: Path, role: str, **environ: str) -> Part:
    """Return a Collector that is not started."""
    port = free_port()
    settings = {
        "COLLECTOR_STATE_DIR": str(folder), "COLLECTOR_GRPC": f"127.0.0.1:{port}",
        "COLLECTOR_HTTP": f"127.0.0.1:{free_port()}", "COLLECTOR_RETRY_INITIAL": "100ms",
        "COLLECTOR_RETRY_MAX": "1s", **environ,
    }  # fmt: skip
    line = [str(program), "--config", str(COLLECTOR / f"{role}.yaml")]
    return Part(line, settings, port, folder / f"{role}.log")


@contextmanager
def running_stack(program: Path, server: Server, folder: Path) -> Iterator[Stack]:
    """Run the whole of it."""
    stack = Stack(folder, Database(server))
    stack.parts["database"] = stack.database
    backends = []
    for name in ("serve", "other serve"):
        serve, http_port = receiver(folder, stack.dsn, name)
        stack.parts[name] = serve
        stack.http_ports.append(http_port)
        backends.append(f"127.0.0.1:{serve.port}")
    stack.parts["gateway"] = gateway = collector(
        program, folder, "gateway", COLLECTOR_BACKENDS=f"[{', '.join(backends)}]",
        COLLECTOR_TOKEN=AGENT_TOKEN, COLLECTOR_BACKEND_TOKEN=SERVE_TOKEN,
    )  # fmt: skip
    stack.parts["agent"] = collector(
        program, folder, "agent", COLLECTOR_GATEWAY=f"127.0.0.1:{gateway.port}",
        COLLECTOR_GATEWAY_TOKEN=AGENT_TOKEN,
    )  # fmt: skip
    try:
        for part in stack.parts.values():
            part.start()
        yield stack
    finally:
        for part in reversed(list(stack.parts.values())):
            if isinstance(part, Part):
                part.stop()


@dataclass
class Program:
    """The pipeline of `program.py`, on its way."""

    process: subprocess.Popen[str]

    def reach(self) -> None:
        """Wait until it waits."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("batch"), line or self.process.communicate()[1]

    def go_on(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Wait for its end; return what it printed as errors."""
        _, errors = self.process.communicate(timeout=50)
        assert self.process.returncode == 0, errors
        return errors


@contextmanager
def started_program(
    folder: Path, environ: Mapping[str, str], *, rounds: int = 12, pause_s: float = 0.05
) -> Iterator[Program]:
    """Start the pipeline."""
    settings = {
        **clean_environment(), "PIPESPAN_STATE_DIR": str(folder), "PIPESPAN_METRICS_INTERVAL_S": "0", **environ,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(rounds), str(pause_s)], env=settings, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield Program(process)
        finally:
            process.kill()


def exported(dsn: str, experiment: str) -> dict[str, Any]:
    """Return an experiment as its document."""
    with pipespan.Client(dsn) as client:
        return client.export(experiment)
