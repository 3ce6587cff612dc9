from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipespan
from tests.chaos.watched import Watched, watched_programs

_WAITS = """
    import asyncio

    def stand_here():
        sys.stdin.readline()

    with pipespan.pipeline("hung") as run, run.step("fit"):
        print("ready", flush=True)
        stand_here()
"""


@pytest.fixture
def watched(tmp_path: Path, dsn: str) -> Iterator[Watched]:
    with watched_programs(tmp_path, dsn) as made:
        yield made


def command(watched: Watched, *words: str, state_dir: Path | None = None, dsn: str | None = None) -> Any:
    """Run the real command line in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIPESPAN_")}
    return subprocess.run(
        [sys.executable, "-m", "pipespan", *words],
        env={
            **inherited, "PYTHONPATH": str(Path(pipespan.__file__).parents[1]),
            "PIPESPAN_STATE_DIR": str(state_dir or watched.state_dir),
            "PIPESPAN_DSN": dsn or watched.environ["PIPESPAN_DSN"],
        },
        cwd=watched.folder, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip


def start(watched: Watched, source: str, *arguments: object, **environ: str) -> Any:
    child = watched.start(source, *arguments, **environ)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    watched.until(lambda: watched.source.experiments(limit=1))
    watched.until(lambda: watched.source.jobs(watched.source.experiments(limit=1)[0].id))
    return child


def test_a_process_anywhere_tells_its_stacks_through_the_database(watched: Watched, tmp_path: Path) -> None:
    """With nothing but the database between them the answer comes within 3 s; the table and an event say who asked."""
    start(watched, _WAITS)
    elsewhere = tmp_path / "elsewhere"
    ran = command(watched, "stack", "hung", "--json", state_dir=elsewhere)
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["has_answered"]) == (0, True)
    assert "in stand_here" in document["answer"]["threads"][0]["stack"][0]
    event = watched.event("request")
    assert "asked process" in event.title
    assert event.details["kind"] == "stack"
    assert "@" in str(event.details["asked_by"])


def test_the_answer_of_a_process_on_this_host_needs_no_database(watched: Watched) -> None:
    """With the database gone the processes of this host are found by name in the spool, and answer."""
    child = start(watched, _WAITS)
    started_at = time.monotonic()
    ran = command(watched, "stack", "hung", dsn="postgresql://nobody@127.0.0.1:1/none")
    assert ran.returncode == 0, ran.stderr
    assert f"process {child.pid} on" in ran.stdout
    assert "thread MainThread (sleeping, in read" in ran.stdout
    assert "in stand_here" in ran.stdout
    assert "pipespan-ticker" not in ran.stdout
    assert "asking the processes of this host directly" in ran.stderr
    assert time.monotonic() - started_at < 20
    event = watched.event("request")
    assert event.details["kind"] == "stack"
    folder = next((watched.state_dir / "spool").glob("*/work.json")).parent
    assert [path.name for path in folder.iterdir() if path.name.startswith(("ask", "answer"))] == []
    again = command(watched, "stack", "--local")
    assert "in stand_here" in again.stdout


def test_an_interpreter_that_is_held_is_told_from_the_timers_file(watched: Watched) -> None:
    """Who cannot answer is told of by what the timer in C wrote; the exit status says that it was silent."""
    start(
        watched,
        """
        import ctypes
        with pipespan.pipeline("held"):
            pipespan.flush(10)
            time.sleep(1)
            print("ready", flush=True)
            ctypes.PyDLL(None).sleep(600)
        """,
        PIPESPAN_HANG_TIMER_S="2",
    )
    watched.until(lambda: [one for one in watched.state_dir.glob("spool/*/hang") if one.stat().st_size])
    ran = command(watched, "stack", "held", "--timeout", "0.5")
    assert ran.returncode == 1
    assert "holds the interpreter" in ran.stdout
    assert "program0.py" in ran.stdout
    assert "stalled" in command(watched, "status", "held").stdout or watched.events("stalled")


def test_a_stopped_process_is_silent(watched: Watched) -> None:
    """What does not answer is said to exist."""
    import signal

    child = start(watched, _WAITS)
    os.kill(child.pid, signal.SIGSTOP)
    ran = command(watched, "stack", "hung", "--timeout", "0.3")
    os.kill(child.pid, signal.SIGCONT)
    assert ran.returncode == 1
    assert "no answer, although the process exists" in ran.stdout


def test_nobody_to_ask(watched: Watched) -> None:
    """An experiment that is over has no stacks; an unknown one is a wrong name."""
    watched.run("with pipespan.pipeline('over'): pass")
    ran = command(watched, "stack", "over")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no live process" in ran.stderr
    assert command(watched, "stack", str(uuid.uuid4())).returncode == 2
    assert command(watched, "stack", "over", "--local").returncode == 2


def test_status_shows_the_stacks_of_the_last_stall(watched: Watched) -> None:
    """One line says that it has stalled and where; with --stacks all of it."""
    start(
        watched,
        """
        def stand_here():
            sys.stdin.readline()

        with pipespan.pipeline("hung", expect_progress_every=1) as run, run.step("fit"):
            print("ready", flush=True)
            stand_here()
        """,
    )
    watched.event("stalled")
    watched.until(lambda: watched.view().health.word == "stalled")
    shown = command(watched, "status", "hung", "--stacks").stdout
    assert "running, stalled" in shown
    assert "has not moved" in shown
    assert "thread MainThread" in shown
    assert shown.count("in stand_here") >= 2
    document = json.loads(command(watched, "status", "hung", "--stacks", "--json").stdout)
    assert document["health"] == "stalled"
    assert document["dump"]["event_type"] == "stalled"


@pytest.mark.parametrize("where", ["through the database", "on this host"])
def test_no_secret_is_in_the_answer(watched: Watched, tmp_path: Path, where: str) -> None:
    """Names of threads may hold one."""
    start(
        watched,
        """
        with pipespan.pipeline("hung"):
            thread = threading.Thread(target=time.sleep, args=(600,), name="password=tr0ub4dor-and-3", daemon=True)
            thread.start()
            print("ready", flush=True)
            sys.stdin.readline()
        """,
    )
    elsewhere = tmp_path / "elsewhere" if where == "through the database" else None
    ran = command(watched, "stack", "hung", "--json", state_dir=elsewhere)
    assert ran.returncode == 0, ran.stderr
    assert "tr0ub4dor" not in ran.stdout
    assert "password=[redacted]" in ran.stdout
    assert "tr0ub4dor" not in str(watched.source.events(watched.view().experiment.id, limit=100))
