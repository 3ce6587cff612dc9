"""A million log records in a tight loop: how much memory that takes, and whether all arrive."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.bench.child import environment
from tests.bench.result import Options, Samples
from tests.bench.server import Server, running_server

TIMEOUT_S = 600.0

ARRIVED = """
select count(*), count(distinct message)
from pipeline_logs
where experiment_id = %s and message like 'record %%'
"""


def growth(options: Options) -> dict[str, Samples]:
    """Measure the growth of resident memory during the loop, and count what arrived."""
    count = options.pick(1_000_000, 100_000)
    with running_server() as server:
        found = _log(server, count)
        delivery_s = _deliver(server)
        with psycopg.connect(server.dsn) as connection:
            arrived = connection.execute(ARRIVED, (found["experiment_id"],)).fetchone()
    rate = count / found["loop_s"]
    note = f"{count} records, {rate:.0f} a second in the loop; {delivery_s:.1f} s for the rest at its end"
    fault = (
        ""
        if arrived == (count, count)
        else f"(rows, different ones) in the table are {arrived!r}, not {count}"
    )
    return {"million": Samples([found["growth_mb"]], note=note, fault=fault)}


def _log(server: Server, count: int) -> dict[str, Any]:
    answer = server.state_dir / "answer.json"
    command = [sys.executable, "-m", "tests.bench.work.million", str(count), str(answer)]
    subprocess.run(command, check=True, env=environment(server.state_dir), cwd=Path("/"), timeout=TIMEOUT_S)
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _deliver(server: Server) -> float:
    """Have delivered what the process could not deliver in its exit timeout."""
    start_s = time.perf_counter()
    command = [sys.executable, "-m", "pipespan", "ship", "--timeout", str(TIMEOUT_S)]
    subprocess.run(
        command, check=True, env=environment(server.state_dir), cwd=Path("/"), stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start_s
