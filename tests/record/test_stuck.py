from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipespan.errors import UsageError
from pipespan.model.rows import EventRow, JobRow
from pipespan.record.movement import kind_of
from pipespan.record.stuck import LEAST_BETWEEN_EVENTS_S, StuckDetector
from tests.record.support import Recorded

DUMP = {"threads": [{"name": "MainThread", "is_main": True, "stack": ["app.py:3 in work"]}]}


class Clocked:
    """A detector whose clock the test moves, second by second."""

    def __init__(self, recorded: Recorded, **options: Any) -> None:
        self._recorded = recorded
        self._detector = StuckDetector(recorded.recorder, dump=lambda: dict(DUMP), **options)
        self.now_s = 1000.0

    def run(self, seconds: float, each: Callable[[int], object] = lambda _second: None) -> Clocked:
        for second in range(int(seconds)):
            each(second)
            self.now_s += 1.0
            self.look()
        return self

    def look(self) -> None:
        jobs = list(self._recorded.recorder.jobs)
        self._detector.look([node for job in jobs for node in job.open_nodes.values()], self.now_s, None)

    def told(self, event_type: str = "stalled") -> list[EventRow]:
        return [row for row in self._recorded.rows(EventRow) if row.event_type == event_type]


def test_a_pace_makes_a_promise_and_its_breach_is_told(recorded: Recorded) -> None:
    """After some gaps of a second the floor is the promise; before it is over nothing is said."""
    with recorded.pipeline(), recorded.step("fit") as step:
        clocked = Clocked(recorded).run(10, lambda _second: step.advance())
        assert clocked.run(29).told() == []
        (event,) = clocked.run(4).told()
        assert (event.node_id, event.severity) == ("run/fit", "WARNING")
        assert event.details["is_learnt"] is True
        assert event.details["where"] == "MainThread at app.py:3 in work"
        evidence: Any = recorded.rows(JobRow)[-1].evidence
        assert evidence["stalled"]["node_id"] == "run/fit"
        step.advance()
        clocked.run(2)
        assert [row.title for row in clocked.told("moving")] == [
            "step 'run/fit' moves again after it rested for about 34 s"
        ]
        assert "stalled" not in recorded.rows(JobRow)[-1].evidence


def test_without_a_pace_there_is_no_promise(recorded: Recorded) -> None:
    """A node that never told of units may take any time; so may one that has done all of them."""
    with recorded.pipeline(), recorded.step("load"), recorded.step("fit", total=10) as step:
        clocked = Clocked(recorded).run(10, lambda _second: step.advance()).run(5000)
        assert clocked.told() == []


def test_a_tracked_loop_that_is_over_promises_nothing(recorded: Recorded) -> None:
    """What comes after the last item has no pace yet, also where nobody knew how many there would be."""
    with recorded.pipeline(), recorded.step("fit") as step:
        clocked = Clocked(recorded)
        for _ in step.track(iter([1] * 20)):
            clocked.run(1)
        assert clocked.run(5000).told() == []


def test_repeats_come_at_growing_intervals(recorded: Recorded) -> None:
    """Never more than once a minute, and ever more seldom."""
    with recorded.pipeline(), recorded.step("fit", expect_progress_every=5):
        clocked = Clocked(recorded).run(3600)
        rested = [event.details["rested_s"] for event in clocked.told()]
    pauses = [after - before for before, after in zip(rested, rested[1:], strict=False)]
    assert rested[0] <= 8
    assert min(pauses) >= LEAST_BETWEEN_EVENTS_S
    assert pauses == sorted(pauses)
    assert len(rested) <= 8


def test_many_stalls_of_one_process_share_the_minute(recorded: Recorded) -> None:
    """A hundred nodes that stop at once make no hundred events."""
    with recorded.pipeline() as run:
        scopes = [run.step("s", expect_progress_every=5) for _ in range(100)]
        for scope in scopes:
            scope.__enter__()
        clocked = Clocked(recorded).run(119)
        assert len(clocked.told()) <= 2
        for scope in reversed(scopes):
            scope.__exit__(None, None, None)


def test_children_that_end_make_a_promise_for_their_like(recorded: Recorded) -> None:
    """The next epoch is held to the pace of the epochs; a child of another kind is not."""
    with recorded.pipeline() as run:
        clocked = Clocked(recorded)
        for number in range(8):
            with run.step(f"epoch {number}"):
                clocked.run(2)
        with run.step("save"):
            assert clocked.run(2000).told() == []
        with run.step("epoch 8"):
            (event,) = clocked.run(80).told()
            assert event.node_id == "run"


def test_a_child_that_promises_less_often_gives_its_parent_time(recorded: Recorded) -> None:
    """What the program said of the child counts, however fast the parent was before."""
    with recorded.pipeline(), recorded.step("fit") as step:
        clocked = Clocked(recorded).run(10, lambda _second: step.advance())
        with step.substep("validate", expect_progress_every=500):
            assert clocked.run(490).told() == []
            assert [event.node_id for event in clocked.run(20).told()] == ["run/fit/validate"]


def test_a_heartbeat_is_no_progress_and_a_message_is(recorded: Recorded) -> None:
    """What the program says of its work moves it; writing the job's row does not."""
    with recorded.pipeline(), recorded.step("fit", expect_progress_every=10) as step:
        job = next(iter(recorded.recorder.jobs))
        clocked = Clocked(recorded).run(50, lambda second: step.message(f"line {second}"))
        assert clocked.told() == []
        clocked.run(14, lambda _second: recorded.recorder.write(job.row()))
        assert len(clocked.told()) == 1


def test_time_in_which_the_process_did_not_run_is_forgiven(recorded: Recorded) -> None:
    """A laptop that slept, or a job that was stopped for an hour, has not stalled."""
    with recorded.pipeline(), recorded.step("fit", expect_progress_every=20) as step:
        clocked = Clocked(recorded).run(5, lambda _second: step.advance())
        clocked.now_s += 3600
        assert clocked.run(10).told() == []
        assert len(clocked.run(15).told()) == 1


def test_a_setting_gives_all_nodes_a_promise(recorded: Recorded) -> None:
    """Where the scope says nothing; the deepest node that rests is told of."""
    with recorded.pipeline(), recorded.step("a"), recorded.step("b"):
        (event,) = Clocked(recorded, expected_s=5.0).run(10).told()
        assert event.node_id == "run/a/b"


def test_a_stall_that_ends_by_the_end_of_its_node_is_told(recorded: Recorded) -> None:
    """Whoever saw the alarm hears what became of it."""
    with recorded.pipeline():
        with recorded.step("fit", expect_progress_every=5):
            clocked = Clocked(recorded).run(10)
        clocked.run(2)
        assert ["has ended (completed)" in row.title for row in clocked.told("moving")] == [True]


@pytest.mark.parametrize("odd", [0, -1, float("nan"), float("inf"), "5", True])
def test_an_odd_expectation_is_refused(recorded: Recorded, odd: Any) -> None:
    """What can never work raises at once, with the remedy."""
    with recorded.pipeline(), pytest.raises(UsageError, match="expect_progress_every"):
        recorded.step("s", expect_progress_every=odd).__enter__()


def test_kinds_are_names_without_numbers() -> None:
    """Children of a series are alike, whatever counts them."""
    assert kind_of("run/epoch 12") == kind_of("run/epoch 3") == kind_of("x/epoch 7#2") == "epoch 0"
    assert kind_of("run/part@ab12cd#3") == "part"
    assert kind_of("run/load") != kind_of("run/save")
