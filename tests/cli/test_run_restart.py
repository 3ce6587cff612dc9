"""`pipespan run --restart` in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.cli.test_run import environment, pipespan
from tests.fixtures.dispositions import restore_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands of the tests are Unix ones")


@pytest.fixture
def run(dsn, tmp_path):
    """Call `pipespan run` to its end."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            pipespan("run", *args), env=environment(dsn, tmp_path, **more), capture_output=True, text=True, timeout=50,
            check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def rows(dsn):
    """Read rows of the test's database."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield lambda query: connection.execute(query).fetchall()


def test_attempts_are_one_experiment(run, rows):
    """Each has its number and its job; the last one decides what becomes of all."""
    program = "echo $PIPESPAN_ATTEMPT; test $PIPESPAN_ATTEMPT = 2"
    done = run("--restart", "on-failure", "--backoff", "0.05", "--", "sh", "-c", program)
    assert (done.returncode, done.stdout) == (0, "1\n2\n")
    assert "attempt 1 failed: exit code 1; attempt 2 starts in 0.05 s" in done.stderr
    (experiment,) = rows("select * from experiments")
    assert (experiment["status"], experiment["attempt"]) == ("completed", 2)
    assert [row["exit_code"] for row in rows("select * from processing_jobs order by attempt")] == [1, 0]


def test_the_limit_is_kept(run, rows):
    """The exit code is that of the last attempt."""
    done = run("--restart", "always", "--max-restarts", "1", "--backoff", "0", "--", "sh", "-c", "exit 9")
    assert done.returncode == 9
    assert "not started again: it was started again once, as often as it may be" in done.stderr
    (experiment,) = rows("select * from experiments")
    assert (experiment["status"], experiment["attempt"]) == ("failed", 2)


def test_a_python_program_joins_the_attempt(run, rows):
    """Its nodes and its job carry the attempt's number."""
    program = (
        "import os, sys, pipespan\nwith pipespan.pipeline('inner'): pass\n"
        "sys.exit(os.environ['PIPESPAN_ATTEMPT'] == '1')"
    )
    assert (
        run("--restart", "on-failure", "--backoff", "0", "--", sys.executable, "-c", program).returncode == 0
    )
    nodes = rows("select * from pipeline_progress where node_name = 'inner' order by attempt")
    assert [node["attempt"] for node in nodes] == [1, 2]
    assert len(rows("select * from experiments")) == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", ["running", "waiting"])
def test_whoever_wants_it_to_end_is_obeyed(dsn, tmp_path, rows, name, moment):
    """During an attempt and between two of them: it is not started again."""
    # exec: dash loses a SIGINT that comes while it starts a child, and neither of the two ends then.
    program = "echo ready; exec sleep 30" if moment == "running" else "exit 1"
    with subprocess.Popen(
        pipespan("run", "--restart", "always", "--backoff", "60", "--", "sh", "-c", program),
        env=environment(dsn, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=restore_signals,  # noqa: PLW1509 - no threads here
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        if moment == "running":
            assert process.stdout.readline() == b"ready\n"
        else:
            assert b"starts in 60 s" in process.stderr.readline()
        os.killpg(process.pid, getattr(signal, name))
        process.communicate(timeout=20)
    (experiment,) = rows("select status from experiments")
    expected = "failed" if (moment, name) == ("running", "SIGTERM") else "cancelled"
    assert experiment["status"] == expected


def test_without_a_record_it_is_started_again_too(run):
    """The restarts do not depend on what is wrong with the record."""
    done = run(
        "--restart", "on-failure", "--backoff", "0", "--",
        "sh", "-c", "echo $PIPESPAN_ATTEMPT; test $PIPESPAN_ATTEMPT = 2",
        PIPESPAN_FLUSH_INTERVAL_S="often",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n2\n")
