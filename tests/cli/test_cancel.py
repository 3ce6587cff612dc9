from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.watched import Watched, watched_programs
from tests.cli.test_stack import command, start


@pytest.fixture
def watched(tmp_path: Path, dsn: str) -> Iterator[Watched]:
    with watched_programs(tmp_path, dsn) as made:
        yield made


def ended(watched: Watched) -> Any:
    """Return the view of an experiment whose parts have all ended."""
    view = watched.view()
    assert {node.record.status for node in view.walk()} <= {"cancelled", "completed"}
    assert [job.status for job in view.jobs] == ["cancelled"] * len(view.jobs)
    assert all("cancelled by" in str(job.cause) and "@" in str(job.cause) for job in view.jobs)
    return view


_LOOPS = {
    "track a list": "for _ in step.track(list(range(10**6))): time.sleep(0.01)",
    "track a range": "for _ in step.track(range(10**6)): time.sleep(0.01)",
    "track a generator": "for _ in step.track(iter(int, 1)): time.sleep(0.01)",
    "advance": "while True: step.advance(); time.sleep(0.01)",
    "progress": "for n in range(10**6): step.progress(n); time.sleep(0.01)",
    "open": """
        while True:
            with step.substep("s"): time.sleep(0.01)
    """,
    "ask": """
        while not pipespan.cancel_requested(): time.sleep(0.01)
        sys.exit(3)
    """,
}


@pytest.mark.parametrize("loop", _LOOPS, ids=lambda loop: loop.replace(" ", "-"))
def test_a_program_stops_at_its_next_call(watched: Watched, loop: str) -> None:
    """The request alone ends it: `finally` blocks run and may use pipespan, and all of it is cancelled."""
    import textwrap

    body = textwrap.indent(textwrap.dedent(_LOOPS[loop]).strip(), " " * 12)
    source = (
        "import traceback\n"
        "try:\n"
        '    with pipespan.pipeline("run") as run, run.step("fit") as step:\n'
        '        print("ready", flush=True)\n'
        "        try:\n"
        f"{body}\n"
        "        finally:\n"
        '            with run.step("clean"): step.advance()\n'
        '            print("cleaned", flush=True)\n'
        "except pipespan.Cancelled as told:\n"
        "    print(told)\n"
    )
    child = start(watched, source)
    ran = command(watched, "cancel", "run", "--no-signal")
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    out, err = child.communicate(timeout=20)
    assert out.startswith("cleaned\n"), err
    assert child.returncode == (3 if loop == "ask" else 0)
    if loop != "ask":
        assert out.startswith("cleaned\ncancelled by ")
    view = ended(watched)
    assert view.experiment.status == "cancelled"
    assert {node.record.node_id: node.record.status for node in view.walk()}["run/clean"] == "completed"
    event = watched.event("request")
    assert (event.details["kind"], event.severity) == ("cancel", "INFO")
    assert view.jobs[0].evidence["cancel_requested"]["by"] == event.details["asked_by"]


def test_a_count_stays_true_when_a_loop_is_cut_short(watched: Watched) -> None:
    """A tracked loop that is stopped has done what it has done, not all."""
    start(
        watched,
        """
        with pipespan.pipeline("run") as run, run.step("fit") as step:
            for number in step.track(range(10**6)):
                if number == 3:
                    print("ready", flush=True)
                time.sleep(0 if number < 3 else 0.2)
        """,
    )
    assert command(watched, "cancel", "run").returncode == 0
    nodes = {node.record.node_id: node.record for node in watched.view().walk()}
    assert 3 <= nodes["run/fit"].completed_units < 1000
    assert nodes["run/fit"].total_units == 10**6


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["here", "elsewhere"])
def test_a_program_that_does_not_hear_gets_sigterm(
    watched: Watched, tmp_path: Path, *, is_elsewhere: bool
) -> None:
    """A process that never calls pipespan is sent the signal: by the asker on its host, else by itself."""
    child = start(
        watched,
        """
        with pipespan.pipeline("run") as run, run.step("fit") as step:
            step.advance(7)
            print("ready", flush=True)
            sys.stdin.readline()
        """,
    )
    if is_elsewhere:
        ran = command(
            watched, "cancel", "run", "--term-after", "1", "--no-wait", state_dir=tmp_path / "elsewhere"
        )
    else:
        ran = command(watched, "cancel", "run", "--term-after", "1")
        assert "sent SIGTERM" in ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert child.wait(timeout=20) == -signal.SIGTERM
    watched.until(lambda: watched.view().experiment.status == "cancelled")
    view = ended(watched)
    assert {node.record.status for node in view.walk()} == {"cancelled"}
    assert {node.record.node_id: node.record.completed_units for node in view.walk()}["run/fit"] == 7


@pytest.mark.parametrize("tick_s", ["0.5", "2"])
def test_a_program_that_ends_well_at_sigterm_is_cancelled(watched: Watched, tick_s: str) -> None:
    """Its own handler ends it, with whatever exit status; the request is why, also where it was heard late."""
    child = start(
        watched,
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
        with pipespan.pipeline("run") as run, run.step("fit") as step:
            print("ready", flush=True)
            time.sleep(600)
        """,
        PIPESPAN_PROGRESS_INTERVAL_S=tick_s,
    )
    assert command(watched, "cancel", "run", "--term-after", "0.5").returncode == 0
    assert child.wait(timeout=20) == 9
    assert ended(watched).experiment.status == "cancelled"


def test_only_who_is_told_to_kills(watched: Watched) -> None:
    """A program that ignores SIGTERM goes on, and the command says so; with --kill-after it is killed."""
    child = start(
        watched,
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pipespan.pipeline("run") as run, run.step("fit") as step:
            print("ready", flush=True)
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    pass
        """,
    )
    ran = command(watched, "cancel", "run", "--term-after", "0.2", "--kill-after", "1.5")
    assert ran.returncode == 0, ran.stderr
    assert ["SIGTERM" in ran.stderr, "SIGKILL" in ran.stderr] == [True, True]
    assert child.wait(timeout=20) == -signal.SIGKILL
    view = ended(watched)
    assert view.experiment.status == "cancelled"
    # Told by the command that killed it, or by whoever found it dead first.
    assert view.jobs[0].evidence["ended_by"] in {"SIGKILL", "killed"}


def test_a_program_without_a_database_stops_too(watched: Watched) -> None:
    """On its own host it is asked by its folder; what it recorded is delivered later."""
    child = start(watched, _SOURCE)
    ran = command(watched, "cancel", "run", "--local")
    assert ran.returncode == 0, ran.stderr
    assert child.wait(timeout=20) == 1
    assert ended(watched).experiment.status == "cancelled"


def test_a_program_that_has_just_begun_is_found_without_a_database(watched: Watched) -> None:
    """It is asked before its own thread has told what it works on."""
    child = watched.start(_SOURCE, PIPESPAN_PROGRESS_INTERVAL_S="1.5")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    ran = command(watched, "cancel", "run", "--local")
    assert ran.returncode == 0, ran.stderr
    assert child.wait(timeout=20) == 1


_SOURCE = """
    with pipespan.pipeline("run") as run, run.step("fit") as step:
        print("ready", flush=True)
        while True:
            step.advance()
            time.sleep(0.01)
"""
