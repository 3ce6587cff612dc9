"""How soon a step that has started is seen by a query of another process, at default settings."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psycopg

from tests.bench.child import environment
from tests.bench.result import Options, Samples
from tests.bench.server import running_server

TIMEOUT_S = 180.0
POLL_S = 0.005

STARTED = """
select node_id, extract(epoch from start_time)::double precision
from pipeline_progress
where node_level = 'step' and start_time is not null
"""


def from_another_process(options: Options) -> dict[str, Samples]:
    """Measure the 95th percentile of the time from the start of a step to its row."""
    count = options.pick(100, 30)
    with running_server() as server:
        command = [sys.executable, "-m", "tests.bench.work.visible", str(count)]
        worker = subprocess.Popen(command, env=environment(server.state_dir), cwd=Path("/"))
        try:
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                delays = sorted(_watch(connection, count))
            worker.wait(TIMEOUT_S)
        finally:
            worker.kill()
            worker.wait()
    p95 = delays[int(0.95 * len(delays))]
    note = f"{count} steps: median {delays[count // 2]:.3f} s, least {delays[0]:.3f}, most {delays[-1]:.3f}"
    return {"visible": Samples([p95], note=note)}


def _watch(connection: psycopg.Connection, count: int) -> list[float]:
    seen: dict[str, float] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while len(seen) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(seen)} of {count} steps were seen in {TIMEOUT_S:.0f} s")
        rows = connection.execute(STARTED).fetchall()
        now_s = time.time()
        for node_id, started_s in rows:
            seen.setdefault(node_id, now_s - started_s)
        time.sleep(POLL_S)
    return list(seen.values())
