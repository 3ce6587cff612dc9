"""What `pipespan run` tells its command, in whatever language that is."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pipespan.query.status import status
from pipespan.query.workers import stragglers_of, workers_of
from pipespan.store.postgres.read import PostgresSource
from tests.cli.test_run import environment, pipespan

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands of the tests are Unix ones")


def test_a_shell_script_learns_where_it_belongs(dsn: str, tmp_path: Path) -> None:
    """`TRACEPARENT` is that of the command's node; a program that knows nothing of pipespan goes on from it."""
    script = 'echo "$TRACEPARENT"; echo "$PIPESPAN_EXPERIMENT_ID"; printenv PIPESPAN_PARENT | head -c 1'
    environ = environment(dsn, tmp_path, TRACEPARENT=f"00-{5:032x}-{7:016x}-01", TRACESTATE="a=b")
    done = subprocess.run(
        pipespan("run", "--", "sh", "-c", script),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    traceparent, experiment_id, start = done.stdout.split("\n")
    with closing(PostgresSource(dsn)) as source:
        (node,) = source.nodes(source.experiments(limit=1)[0].id)
    assert traceparent == f"00-{node.trace_id}-{node.span_id}-01"
    assert (experiment_id, start) == (node.experiment_id, "{")


RANK = """
import os, sys, pipespan
rank = int(os.environ["SLURM_PROCID"])
with pipespan.step("fit", total=100) as step:
    step.advance(5 if rank == 2 else 80)
    pipespan.flush(20)
    print("ready", flush=True)
    sys.stdin.readline()
"""

LAUNCHER = """
import os, subprocess, sys
ranks = [
    subprocess.Popen(
        [sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_ID": "0"},
    )
    for rank in range(4)
]
for one in ranks:
    one.stdout.readline()
print("all ready", flush=True)
sys.stdin.readline()
for one in ranks:
    one.communicate("\\n")
"""


def test_ranks_are_one_tree_and_the_slow_one_is_named(dsn: str, tmp_path: Path) -> None:
    """Four ranks below the command of a launcher, in a batch script that has a rank of its own."""
    environ = environment(
        dsn, tmp_path, SLURM_PROCID="0", SLURM_JOB_ID="7", PIPESPAN_PROGRESS_INTERVAL_S="0.05"
    )
    command = pipespan("run", "--name", "train", "--", sys.executable, "-c", LAUNCHER, RANK)
    launched = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert launched.stdout is not None
        assert launched.stdout.readline() == "all ready\n"
        source = PostgresSource(dsn)
        view = status(source, "last", datetime.now(timezone.utc))
        assert {node.record.node_id for node in view.walk()} == {
            "train",
            *(f"train/fit@r{rank}" for rank in range(4)),
        }
        (behind,) = stragglers_of(view)
        assert behind.node_id == "train/fit@r2"
        assert behind.who.startswith("rank 2, process ")
        ranks = [(one.rank, one.world_size, one.progress_percent) for one in workers_of(view)]
        assert ranks == [(0, 4, 80), (1, 4, 80), (2, 4, 5), (3, 4, 80), (None, None, 61.25)], ranks
        source.close()
    finally:
        launched.communicate("\n", timeout=30)
    assert launched.returncode == 0
    assert os.environ.get("SLURM_PROCID") is None
