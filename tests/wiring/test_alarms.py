"""What goes wrong with the monitoring itself becomes an event of the run, seldom enough to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pipespan.model.rows import EventRow
from pipespan.spool.notices import Notices
from pipespan.wiring.alarms import CLOCK_JUMP_S, FIRST_PAUSE_S, MAX_PAUSE_S, SLOW_BATCH_S, Alarms
from pipespan.wiring.health import Health


@dataclass
class Stage:
    """Stands for the rest of a runtime: what alarms look at, and what they write to."""

    health: Health = field(default_factory=lambda: Health(is_enabled=True, spool_max_bytes=1000))
    away_s: float = 0.0
    slowest_s: float = 0.0
    stray_rows: int = 0
    last_error: str | None = None
    now_s: float = 100.0
    wall_s: float = 1_000_000.0
    rows: list[EventRow] = field(default_factory=list)
    notices: Notices = field(default_factory=Notices)

    def __post_init__(self) -> None:
        self.alarms = Alarms(
            lambda: _Recorder(self),  # type: ignore[arg-type,return-value] # has what is asked of it
            lambda: self.health,
            lambda: _Shipper(self),  # type: ignore[arg-type,return-value] # as above
            away_after_s=60.0,
            clocks=lambda: (self.now_s, self.wall_s),
        )

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds

    def look(self) -> list[str]:
        self.rows.clear()
        self.alarms.look()
        return [row.details["alarm"] for row in self.rows]


@dataclass
class _Recorder:
    stage: Stage

    @property
    def notices(self) -> Notices:
        return self.stage.notices

    @property
    def jobs(self) -> list[Any]:
        class Experiment:
            id = "experiment"

        class Job:
            id = "job"
            experiment = Experiment()

        return [Job()]

    def write(self, row: EventRow) -> None:
        self.stage.rows.append(row)


@dataclass
class _Shipper:
    stage: Stage

    @property
    def last_error(self) -> str | None:
        return self.stage.last_error

    @property
    def stray_rows(self) -> int:
        return self.stage.stray_rows

    def away_s(self) -> float:
        return self.stage.away_s

    def take_slowest_s(self) -> float:
        found, self.stage.slowest_s = self.stage.slowest_s, 0.0
        return found


def health(**figures: Any) -> Health:
    return Health(is_enabled=True, spool_max_bytes=1000, **figures)


def test_while_all_is_well_nothing_is_told() -> None:
    """Rows that come and go, a batch that is quick, a clock that runs."""
    stage = Stage()
    for number in range(100):
        stage.health = health(accepted_rows=number, waiting_bytes=700)
        stage.slowest_s = SLOW_BATCH_S / 2
        stage.pass_time(2.0)
        assert stage.look() == []


def test_each_kind_says_what_it_is_about() -> None:
    """Kind, title and figures of each."""
    stage = Stage()
    assert stage.look() == []
    stage.pass_time(2.0)
    stage.wall_s -= 3600
    stage.health = health(dropped_rows=5, rejected_rows=2, failed_rows=1, waiting_bytes=900)
    stage.away_s, stage.slowest_s, stage.stray_rows = 61.0, 2.5, 7
    assert stage.look() == [
        "spool",
        "dropped",
        "rejected",
        "failed",
        "away",
        "slow",
        "default-partition",
        "clock",
    ]
    titles = [row.title for row in stage.rows]
    assert titles[1] == "pipespan: 5 rows were dropped, because a bound was reached"
    assert titles[4] == "pipespan: the database has taken nothing for 61 s: it does not answer"
    assert titles[7] == "pipespan: the clock was set back by 3,600 s"
    assert stage.rows[7].details["step_s"] == pytest.approx(-3600)
    assert {(row.event_type, row.severity) for row in stage.rows} == {("alarm", "WARNING")}


def test_an_alarm_is_repeated_ever_more_seldom() -> None:
    """After a minute at the soonest, then two, and at last once an hour; what came meanwhile is counted together."""
    stage, told_at, rows = Stage(), [], 0
    for number in range(8 * 3600):
        stage.health = health(dropped_rows=number + 1)
        if stage.look() == ["dropped"]:
            told_at.append(number)
            rows += stage.rows[0].details["rows"]
        stage.pass_time(1.0)
    pauses = [later - earlier for earlier, later in zip(told_at, told_at[1:], strict=False)]
    assert pauses[:4] == [FIRST_PAUSE_S * 2**power for power in range(4)]
    assert pauses[-1] == MAX_PAUSE_S
    assert len(told_at) < 16
    assert rows == told_at[-1] + 1


def test_a_database_that_is_back_is_told_once() -> None:
    """Only after it was told that it is away."""
    stage = Stage(away_s=30.0, last_error="refused")
    assert stage.look() == []
    stage.away_s = 0.0
    assert stage.look() == []
    stage.away_s = 100.0
    assert stage.look() == ["away"]
    assert "refused" in stage.rows[0].title
    stage.pass_time(2.0)
    assert stage.look() == []
    stage.away_s = 0.0
    assert stage.look() == ["back"]
    assert stage.rows[0].severity == "INFO"
    assert stage.look() == []


@pytest.mark.parametrize("step_s", [CLOCK_JUMP_S, -CLOCK_JUMP_S, 3600.0, -3600.0])
def test_a_step_of_the_clock_is_told(step_s: float) -> None:
    """In both directions; a small one, as time services make them, is not."""
    stage = Stage()
    stage.look()
    stage.wall_s += CLOCK_JUMP_S / 2
    assert stage.look() == []
    stage.wall_s += step_s
    assert stage.look() == ["clock"]
    assert stage.look() == []


def test_a_failure_of_its_own_stays_here() -> None:
    """It is counted, and the ticker goes on."""
    stage = Stage()
    stage.alarms._health = None  # type: ignore[assignment] # stands for a bug
    assert stage.look() == []
    assert stage.notices.counts["alarms"] == 1
