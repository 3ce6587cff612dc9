"""Deaths under `pipespan run`, whose supervisor sees the exit status, and dies itself at times."""

from __future__ import annotations

import os
import signal
import sys

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes by /proc"),
]

RUN = (sys.executable, "-m", "pipespan", "run", "--quiet", "--")
OFF = {"PIPESPAN_WATCHER": "0"}


def causes(ward):
    rows = ward.rows("select cause, exit_code, exit_signal, status from processing_jobs order by started_at")
    return [(row["status"], row["cause"], row["exit_code"], row["exit_signal"]) for row in rows]


@pytest.mark.parametrize(
    ("how", "code", "supervisors", "from_child"),
    [
        ("os._exit(7)", 7, ("failed", "exit", 7, None), ("failed", "os-exit", 7, None)),
        ("os.kill(os.getpid(), 9)", 137, ("failed", "killed", None, 9), ("failed", "killed", None, 9)),
        ("ctypes.string_at(0)", 139, ("failed", "segfault", None, 11), ("failed", "segfault", None, 11)),
    ],
)
def test_the_supervisor_tells_how_its_child_ended(ward, how, code, supervisors, from_child):
    """Without any watcher: the exit status that the supervisor saw is in its own job and in that of the child."""
    child = ward.start(f"fall(lambda: {how})", before=RUN, **OFF)
    ward.until_ready(child, is_watched=False)
    assert child.wait(30) == code
    ward.death(deaths=2)
    assert causes(ward) == [supervisors, from_child]
    found = ward.rows("select details->>'found_by' as who from pipeline_events where event_type = 'death'")
    assert len(found) == 2
    assert ward.experiment_status() == "failed"
    assert set(ward.statuses().values()) == {"failed"}


def test_a_supervisor_killed_with_its_child(ward):
    """Whoever looks next writes both certificates."""
    child = ward.start("fall(lambda: time.sleep(60))", before=RUN)
    ward.until_ready(child, is_watched=False)
    ward.eventually(lambda: len(ward.rows("select * from processing_jobs")) == 2 or None)
    os.killpg(child.pid, signal.SIGKILL)
    ward.death(deaths=2)
    assert {cause for _, cause, _, _ in causes(ward)} <= {"killed", "vanished"}
    assert ward.experiment_status() == "failed"
    assert set(ward.statuses().values()) == {"failed"}


def test_a_shell_that_reports_137_is_not_out_of_memory(ward):
    """An exit status of 137 alone says that somebody sent SIGKILL, or chose the number."""
    child = ward.start("sys.exit(137)", before=(*RUN,), **OFF)
    assert child.wait(30) == 137
    assert causes(ward) == [("failed", "exit", 137, None)]


def test_attempts_read_as_one_story(ward):
    """Each attempt has its cause; the experiment is what the last one made of it."""
    source = """
    attempt = int(os.environ["PIPESPAN_ATTEMPT"])
    if attempt == 1: os.kill(os.getpid(), 9)
    if attempt == 2: sys.exit(4)
    """
    import subprocess

    script = ward.script(source)
    subprocess.run(
        [
            *RUN[:3],
            "run",
            "--quiet",
            "--restart",
            "on-failure",
            "--backoff",
            "0",
            "--",
            sys.executable,
            str(script),
        ],
        env=ward.environment(**OFF),
        timeout=40,
        check=True,
    )
    assert causes(ward) == [
        ("failed", "killed", None, 9),
        ("failed", "exit", 4, None),
        ("completed", "return", 0, None),
    ]
    assert ward.experiment_status() == "completed"
    shown = subprocess.run(
        [sys.executable, "-m", "pipespan", "status"],
        env={**ward.environment(**OFF), "COLUMNS": "120"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "attempt 1: killed" in shown
    assert "attempt 2: exit" in shown
