"""What a fault costs a job: its work while the fault lasts, beside the same work while all is well, by turns."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.child import environment
from tests.bench.otlpsink import running_sink
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import running_server


@dataclass(frozen=True, slots=True)
class Run:
    """What the work of a job took, in all and in the thread that did it."""

    wall_s: float
    cpu_s: float
    lost: int


def against_healthy(options: Options) -> dict[str, Samples]:
    """Measure the job with a frozen database, without any, and with a collector that swallows all."""
    turns = options.pick(800, 150)
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipespan-bench-", dir="/tmp")))
        healthy = {"PIPESPAN_DSN": server.dsn}
        exporting = {**healthy, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
        faults: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
            "harm_frozen": ({"PIPESPAN_DSN": stack.enter_context(frozen())}, healthy),
            "harm_absent": ({"PIPESPAN_DSN": "postgresql://127.0.0.1:1/none"}, healthy),
            "harm_collector": (
                {**exporting, endpoint: stack.enter_context(black_hole())},
                {**exporting, endpoint: stack.enter_context(running_sink())},
            ),
        }
        return {name: _pairs(folder, turns, *sides) for name, sides in faults.items()}


def _pairs(folder: Path, turns: int, fault: Mapping[str, str], healthy: Mapping[str, str]) -> Samples:
    _run(folder, turns, healthy)
    pairs = []
    for number in range(MIN_PAIRS):
        first, second = (fault, healthy) if number % 2 else (healthy, fault)
        runs = [_run(folder, turns, first), _run(folder, turns, second)]
        pairs.append((runs[0], runs[1]) if number % 2 else (runs[1], runs[0]))
    cpu = statistics.median(ill.cpu_s / well.cpu_s for ill, well in pairs)
    lost = sum(ill.lost for ill, _ in pairs)
    return Samples(
        [ill.wall_s for ill, _ in pairs],
        [well.wall_s for _, well in pairs],
        note=f"{turns} steps, {2 * turns} log records; ratio of the working thread's CPU time {cpu:.3f}",
        fault=f"{lost} rows lost" if lost else "",
    )


def _run(folder: Path, turns: int, environ: Mapping[str, str]) -> Run:
    state_dir = folder / "state"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.work.harm", str(turns)],
        env={**environment(state_dir), "PIPESPAN_EXIT_TIMEOUT_S": "1", "PIPESPAN_WATCHER": "0", **environ},
        cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    shutil.rmtree(state_dir, ignore_errors=True)
    return Run(**json.loads(done.stdout))


@contextmanager
def frozen() -> Generator[str, None, None]:
    """Give the DSN of a server that takes connections and never answers."""
    with (
        tempfile.TemporaryDirectory(prefix="pspan-", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(f"{folder}/.s.PGSQL.5432")
        listener.listen(64)
        yield f"host={folder} user=u dbname=d"


@contextmanager
def black_hole() -> Generator[str, None, None]:
    """Give an OTLP endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
