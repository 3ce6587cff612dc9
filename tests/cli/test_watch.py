from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from pipespan.cli.options import Invocation
from pipespan.cli.watch import Pacing, watch_until_end
from pipespan.query.ending import DEAD_GRACE_S
from tests.cli.runner import Cli, sample_source
from tests.query.samples import EXPERIMENT_ID, NOW, ListSource, experiment, job, node


def ending_after(source: ListSource, looks: int) -> Callable[[float], None]:
    """Return a sleep that moves the work on, and ends the experiment after so many looks."""
    state = {"looks": 0}

    def sleep(_seconds: float) -> None:
        state["looks"] += 1
        done = min(100, 25 + 25 * state["looks"])
        source.all_nodes[2] = replace(source.all_nodes[2], completed_units=done, progress_percent=float(done))
        source.all_nodes[0] = replace(
            source.all_nodes[0], progress_percent=min(99.0, 40.0 + 20 * state["looks"])
        )
        if state["looks"] >= looks:
            source.found = [experiment(status="completed", error_count=3)]

    return sleep


def test_watch_over_a_pipe(cli: Cli) -> None:
    """Each change is one plain line; the final tree comes at the end, and the exit code is 0."""
    source = sample_source()
    cli.sleep = ending_after(source, 3)
    result = cli(source, "watch", "--interval", "0.1")
    assert result.code == 0
    told = [line for line in result.lines if line.startswith("12:00:00")]
    assert ["40%" in told[0], "60%" in told[1], "80%" in told[2]] == [True] * 3
    assert "completed" in told[-1]
    assert any(line.startswith("✔ nightly-train") for line in result.lines)
    assert "\x1b" not in result.out


def test_no_change_no_line(cli: Cli) -> None:
    """Looking often does not print often."""
    source = sample_source()
    looks = {"count": 0}

    def sleep(_seconds: float) -> None:
        looks["count"] += 1
        if looks["count"] == 50:
            source.found = [experiment(status="failed")]

    cli.sleep = sleep
    result = cli(source, "watch")
    assert result.code == 0
    assert len([line for line in result.lines if line.startswith("12:00:00")]) == 2


def test_outage_is_told_and_waited_out(cli: Cli) -> None:
    """A database that goes away in the middle is said so, and watching goes on when it is back."""
    source = sample_source()
    looks = {"count": 0}

    def sleep(_seconds: float) -> None:
        looks["count"] += 1
        if looks["count"] == 1:
            source.outages = 3
        elif looks["count"] == 6:
            source.found = [experiment(status="completed")]

    cli.sleep = sleep
    result = cli(source, "watch")
    assert result.code == 0
    assert result.out.count("cannot reach the database at 'nowhere'") == 1
    assert "✔ nightly-train" in result.out


def test_outage_at_the_first_look_is_an_error(cli: Cli) -> None:
    """A wrong address is told at once instead of being tried for ever."""
    source = sample_source()
    source.outages = 1
    result = cli(source, "watch")
    assert result.code == 1
    assert len(result.err.splitlines()) == 1


def test_dead_experiments_are_not_watched_for_ever(cli: Cli) -> None:
    """When the death is certain and nobody starts it anew, the watch ends with 1."""
    source = sample_source()

    def die(_seconds: float) -> None:
        source.all_jobs = [job(status="failed", cause="signal 9")]

    cli.sleep = die
    result = cli(source, "watch")
    assert result.code == 1
    assert cli.clock_s >= DEAD_GRACE_S
    assert "dead" in result.out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_is_dead_already_is_shown_and_left(cli: Cli, form: tuple[str, ...]) -> None:
    """An experiment that was dead before is not waited for; one line says why."""
    source = sample_source()
    source.all_jobs = [job(status="failed", cause="signal 9")]
    result = cli(source, "watch", *form)
    assert result.code == 1
    assert cli.clock_s <= 1.5
    assert result.err == "dead: process 4711 on node7.example has ended: signal 9\n"
    assert form or "✖ nightly-train  dead (recorded as running)" in result.lines


def test_json_lines(cli: Cli) -> None:
    """`watch --json` prints a status document for each change."""
    source = sample_source()
    cli.sleep = ending_after(source, 2)
    documents = cli(source, "watch", "--json").documents
    statuses = [one["experiment"]["status"] for one in documents]
    assert statuses[:3] == ["running", "running", "completed"]
    assert len(statuses) <= 4  # the last look may find what came in behind the outcome
    assert {one["experiment"]["id"] for one in documents} == {EXPERIMENT_ID}


def test_interrupt_leaves_with_130(cli: Cli) -> None:
    """Ctrl-C ends the watch, not the experiment."""

    def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    cli.sleep = sleep
    assert cli(sample_source(), "watch").code == 130


def live_console(height: int = 30) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=80,
        height=height,
        color_system=None,
        _environ={"TERM": "xterm"},
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_live_display_draws_over_itself_and_ends_with_the_tree() -> None:
    """On a terminal the tree is redrawn in place; what stays is the final one."""
    source = sample_source()
    console = live_console()
    sleep = ending_after(source, 2)
    view = watch_until_end(
        source, "last", console, Pacing(invocation=Invocation(now=lambda: NOW, sleep=sleep))
    )
    assert view is not None
    assert view.is_over
    text = written(console)
    assert "\x1b[1A" in text
    assert text.rstrip().endswith("pipespan errors 3f2a9c1b")


def test_live_display_fits_the_height() -> None:
    """Of a huge tree only what fits the terminal is drawn, so that it can be drawn over."""
    source = sample_source()
    source.all_nodes += [node(f"train/fit/{number}", message="at work") for number in range(500)]
    console = live_console(height=20)
    drawn: list[str] = []

    def sleep(_seconds: float) -> None:
        drawn.append(written(console))
        source.found = [experiment(status="completed")]

    watch_until_end(source, "last", console, Pacing(invocation=Invocation(now=lambda: NOW, sleep=sleep)))
    assert len(drawn[0].splitlines()) <= 20


def test_an_experiment_that_comes_later_is_waited_for() -> None:
    """Whoever starts a run and a watch at once need not care which is first."""
    source = sample_source()
    waiting = source.found
    source.found = []
    clock = {"s": 0.0}

    def sleep(seconds: float) -> None:
        clock["s"] += seconds
        if clock["s"] > 1.0:
            source.found = [replace(waiting[0], status="completed", ended_at=NOW + timedelta(seconds=1))]

    pacing = Pacing(
        appear_s=5.0, invocation=Invocation(now=lambda: NOW, sleep=sleep, clock=lambda: clock["s"])
    )
    view = watch_until_end(source, EXPERIMENT_ID, Console(file=io.StringIO(), width=80), pacing)
    assert view is not None


def test_cancelling_ends_the_watch() -> None:
    """The one who embeds the watch can end it."""
    pacing = Pacing(is_cancelled=lambda: True, invocation=Invocation(now=lambda: NOW))
    assert watch_until_end(sample_source(), "last", Console(file=io.StringIO(), width=80), pacing) is None
