from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.progress import PACE_MEMORY_S, STALL_AFTER_S, Pace, Progress, initial_pace
from pipespan.model.tree import WHOLE_PPB

UNITS = st.integers(min_value=0, max_value=10**12)
SECONDS = st.floats(min_value=-1e6, max_value=1e9, allow_nan=False)


def test_rate_and_eta_are_the_mean_since_the_start() -> None:
    """With one look the rate is the mean, and the ETA what is left at that rate."""
    progress = Progress(completed=50, total=200, started_s=1000.0, now_s=1010.0)
    assert progress.rate_per_s == pytest.approx(5.0)
    assert progress.eta_s == pytest.approx(30.0)


def test_eta_counts_down_between_updates() -> None:
    """Time that passes since the last update shortens the ETA instead of stretching it."""
    progress = Progress(completed=50, total=200, started_s=1000.0, moved_s=1010.0, now_s=1014.0)
    assert progress.rate_per_s == pytest.approx(5.0)
    assert progress.eta_s == pytest.approx(26.0)


@pytest.mark.parametrize(
    "progress",
    [
        Progress(completed=5, total=None, started_s=0.0, now_s=10.0),
        Progress(completed=5, total=0, started_s=0.0, now_s=10.0),
        Progress(completed=0, total=10, started_s=0.0, now_s=10.0),
        Progress(completed=5, total=10, started_s=None, now_s=10.0),
        Progress(completed=5, total=10, started_s=0.0, now_s=0.0),
        Progress(completed=5, total=10, started_s=0.0, moved_s=10.0, now_s=11.0 + STALL_AFTER_S),
        Progress(completed=WHOLE_PPB, total=WHOLE_PPB, started_s=0.0, now_s=9.0, is_total_open=True),
    ],
    ids=[
        "total unknown",
        "total zero",
        "nothing done",
        "pending",
        "no time",
        "stalled",
        "all known children done",
    ],
)
def test_no_eta_is_made_up(progress: Progress) -> None:
    """Where the end cannot be known there is no ETA."""
    assert progress.eta_s is None


def test_slow_units_are_not_a_stall() -> None:
    """An hour per unit makes twenty silent minutes nothing unusual."""
    progress = Progress(completed=3, total=10, started_s=0.0, moved_s=3 * 3600.0, now_s=3 * 3600.0 + 1200)
    assert not progress.is_stalled
    assert progress.eta_s == pytest.approx(7 * 3600 - 1200)


def test_parent_is_measured_in_parts_per_billion() -> None:
    """A parent at a quarter after ten seconds needs thirty more."""
    progress = Progress(
        completed=WHOLE_PPB // 4, total=WHOLE_PPB, started_s=0.0, now_s=10.0, is_total_open=True
    )
    assert progress.eta_s == pytest.approx(30.0)


def test_pace_follows_a_change_within_a_minute() -> None:
    """After an hour at 1/s, a minute at 10/s shows nearly 10/s."""
    pace = initial_pace(3600, 3600.0)
    for _ in range(60):
        pace = pace.then(10, 1.0)
    assert 8.0 < pace.rate_per_s < 10.0


def test_pace_takes_a_long_silence_as_one_observation() -> None:
    """An hour in which nothing happened weighs no more than the memory is long."""
    pace = Pace(30.0, 30.0).then(0, 3600.0)
    assert pace.seconds <= PACE_MEMORY_S
    for _ in range(120):
        pace = pace.then(1, 1.0)
    assert pace.rate_per_s > 0.9


@given(
    completed=UNITS,
    total=st.none() | UNITS,
    started_s=st.none() | SECONDS,
    moved_s=st.none() | SECONDS,
    now_s=SECONDS,
    pace=st.none() | st.builds(Pace, st.floats(0, 1e12), st.floats(0, PACE_MEMORY_S)),
    is_total_open=st.booleans(),
)
def test_nothing_is_ever_negative_or_endless(
    completed: int,
    total: int | None,
    started_s: float | None,
    moved_s: float | None,
    now_s: float,
    pace: Pace | None,
    is_total_open: bool,
) -> None:
    """Whatever clocks and counters say, rate, ETA and elapsed time are absent or sensible."""
    progress = Progress(completed, total, started_s, now_s, moved_s, pace, is_total_open)
    assert progress.elapsed_s >= 0
    assert 0 <= progress.silence_s <= progress.elapsed_s
    assert progress.rate_per_s is None or (progress.rate_per_s > 0 and math.isfinite(progress.rate_per_s))
    assert progress.eta_s is None or (progress.eta_s >= 0 and math.isfinite(progress.eta_s))


STRETCHES = st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.01, 1e4)), min_size=1, max_size=30)


@given(stretches=STRETCHES)
def test_pace_stays_between_the_slowest_and_the_fastest_stretch(stretches: list[tuple[int, float]]) -> None:
    """A recent-weighted rate is a mean of what was measured: it cannot overshoot."""
    pace = initial_pace(*stretches[0])
    for units, seconds in stretches[1:]:
        pace = pace.then(units, seconds)
    rates = [units / seconds for units, seconds in stretches]
    assert min(rates) * (1 - 1e-9) <= pace.rate_per_s <= max(rates) * (1 + 1e-9)
    assert pace.seconds <= PACE_MEMORY_S * (1 + 1e-9)


@pytest.mark.parametrize(("units", "seconds"), [(1, 0), (1, -1), (-1, 1), (1, math.nan), (math.inf, 1)])
def test_odd_observations_change_nothing(units: float, seconds: float) -> None:
    """A clock that stands still or runs backwards does not spoil the pace."""
    pace = Pace(10.0, 5.0)
    assert pace.then(units, seconds) is pace
