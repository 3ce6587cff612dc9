from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.promise import (
    FLOOR_S,
    LONGEST_FACTOR,
    MIN_GAPS,
    OUTLIER_FACTOR,
    TYPICAL_FACTOR,
    Gaps,
    repeat_after_s,
)

GAPS = st.lists(st.floats(1e-3, 1e5), max_size=60)
FLOORS = st.floats(0.1, 100.0)


def learnt(gaps: list[float], floor_s: float = FLOOR_S) -> Gaps:
    known = Gaps()
    for gap_s in gaps:
        known = known.then(gap_s, floor_s)
    return known


@given(GAPS, FLOORS)
def test_there_is_a_promise_once_enough_was_seen_and_it_is_never_below_the_floor(
    gaps: list[float], floor_s: float
) -> None:
    """Who has shown too little has promised nothing; garbage collections are no stalls."""
    promise_s = learnt(gaps, floor_s).promise_s(floor_s)
    if len(gaps) < MIN_GAPS:
        assert promise_s is None
    else:
        assert promise_s is not None
        assert promise_s >= floor_s


@given(st.floats(1e-3, 1e4), st.integers(MIN_GAPS, 200))
def test_a_steady_pace_is_never_broken_by_itself(gap_s: float, count: int) -> None:
    """What always took as long may take many times as long."""
    promise_s = learnt([gap_s] * count).promise_s()
    assert promise_s is not None
    assert promise_s >= TYPICAL_FACTOR * gap_s * (1 - 1e-9)


@given(st.lists(st.floats(1e-3, 1e5), min_size=MIN_GAPS, max_size=60))
def test_what_came_before_the_first_promise_may_come_again_and_take_longer(gaps: list[float]) -> None:
    """The longest gap seen while nothing was promised fits in several times."""
    promise_s = learnt(gaps).promise_s()
    assert promise_s is not None
    assert promise_s >= LONGEST_FACTOR * max(gaps[:MIN_GAPS]) * (1 - 1e-9)


@given(st.lists(st.floats(1e-3, 1e4), min_size=MIN_GAPS, max_size=60), st.floats(1e-3, 1e12), FLOORS)
def test_one_stall_does_not_make_it_deaf(gaps: list[float], stall_s: float, floor_s: float) -> None:
    """However long a single gap, the promise grows by a bounded factor only."""
    before = learnt(gaps, floor_s)
    old_s, new_s = before.promise_s(floor_s), before.then(stall_s, floor_s).promise_s(floor_s)
    assert old_s is not None
    assert new_s is not None
    assert new_s <= old_s * (1 + OUTLIER_FACTOR * TYPICAL_FACTOR)


@given(GAPS, st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf]))
def test_odd_gaps_change_nothing(gaps: list[float], odd: float) -> None:
    """A clock that was set, or none at all, teaches nothing."""
    known = learnt(gaps)
    assert known.then(odd) == known


@given(GAPS)
def test_the_usual_gap_lies_among_those_seen(gaps: list[float]) -> None:
    """It is a mean, so it is never beyond the longest nor negative."""
    known = learnt(gaps)
    assert known.count == len(gaps)
    assert 0 <= known.typical_s <= known.longest_s or not gaps


@given(st.floats(0, 1e6), st.floats(60, 600))
def test_repeats_come_at_growing_intervals_and_never_too_soon(idle_s: float, least_s: float) -> None:
    """The next word comes after as long again."""
    pause_s = repeat_after_s(idle_s, least_s)
    assert pause_s >= least_s
    assert repeat_after_s(idle_s + pause_s, least_s) >= pause_s
