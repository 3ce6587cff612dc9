"""What OTLP export costs a program whose rows go to Postgres: two processes by turns, one that exports and one not."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.child import environment
from tests.bench.otlpsink import running_sink
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import Server, running_server

US = 1e6

BURST = 1500
"""Steps of one turn: three batches of an exporter, and fewer than its queue holds (2,048), or it would drop some."""


def beside_postgres(options: Options) -> dict[str, Samples]:
    """Measure a step of a program that exports spans, logs and metrics over OTLP/HTTP, and of one that does not."""
    ours: list[float] = []
    peer: list[float] = []
    caller: list[float] = []
    whole: list[float] = []
    with running_server() as server, running_sink() as endpoint:
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        with _program(server, asked) as exporting, _program(server, {}) as alone:
            for one in (exporting, alone):
                _ask(one)  # what is loaded at first is loaded
            for number in range(options.pick(15, MIN_PAIRS)):
                turn = (exporting, alone) if number % 2 else (alone, exporting)
                took = {id(one): _ask(one) for one in turn}
                ours.append(took[id(exporting)][0] * US)
                peer.append(took[id(alone)][0] * US)
                caller.append(took[id(exporting)][1] / took[id(alone)][1])
                whole.append(took[id(exporting)][2] / took[id(alone)][2])
    note = (
        f"ratio of the calling thread's CPU {statistics.median(caller):.2f}, "
        f"of all threads' until all is delivered {statistics.median(whole):.2f}"
    )
    return {"step_otlp": Samples(ours, peer, note=note)}


@contextmanager
def _program(server: Server, variables: Mapping[str, str]) -> Generator[subprocess.Popen[str], None, None]:
    command = [sys.executable, "-m", "tests.bench.work.steps"]
    process = subprocess.Popen(
        command, env={**environment(server.state_dir), **variables}, cwd=Path("/"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(process: subprocess.Popen[str]) -> tuple[float, float, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{BURST}\n")
    process.stdin.flush()
    wall_s, caller_s, cpu_s = json.loads(process.stdout.readline())
    return wall_s, caller_s, cpu_s
