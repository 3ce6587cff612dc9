"""Rounds of many shippers at the same moments, and none of them too often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.spool.turns import HURRIES, HURRY_INTERVALS, MIN_INTERVAL_S, Allowance, Turns

intervals = st.floats(0.05, 60.0)
moments = st.floats(0.0, 1e6)


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@given(interval_s=intervals, one=moments, other=moments, is_in_step=st.booleans())
def test_a_pause_is_neither_short_nor_long(
    interval_s: float, one: float, other: float, is_in_step: bool
) -> None:
    """A store that takes all the time between two rounds gets time to breathe; rows wait for 1.5 intervals at most."""
    clock = Clock(one)
    turns = Turns(interval_s, clock, is_in_step=is_in_step)
    clock.now_s = max(one, other)
    assert interval_s / 2 < turns.until_next_s() <= interval_s * 1.5 + 1e-6
    assert 0 < turns.until_first_s() <= interval_s
    apart = (turns.until_next_s() - turns.until_first_s()) / interval_s
    assert apart == pytest.approx(round(apart), abs=1e-3), (
        "the first round is no other than those that follow"
    )


@given(interval_s=intervals, one=moments, other=moments, later=moments)
def test_those_in_step_come_at_the_same_moments(
    interval_s: float, one: float, other: float, later: float
) -> None:
    """Whenever they began and whenever they are asked, their rounds are whole intervals apart."""
    clock = Clock(one)
    first = Turns(interval_s, clock, is_in_step=True)
    first_s = clock.now_s + first.until_next_s()
    clock.now_s = other
    second = Turns(interval_s, clock, is_in_step=True)
    clock.now_s = max(other, later)
    second_s = clock.now_s + second.until_next_s()
    apart = abs(second_s - first_s) / interval_s
    assert apart == pytest.approx(round(apart), abs=1e-3)


def test_others_have_their_own_moments() -> None:
    """The processes of a host do not all come at once."""
    clock = Clock(10.0)
    one = Turns(1.0, clock, is_in_step=False)
    clock.now_s = 10.25
    other = Turns(1.0, clock, is_in_step=False)
    clock.now_s = 10.375
    assert (one.until_next_s(), other.until_next_s()) == (0.625, 0.875)


def test_nobody_goes_round_without_a_pause() -> None:
    """An interval of nothing would take a core."""
    assert Turns(0.0, Clock(5.0), is_in_step=False).interval_s == MIN_INTERVAL_S


@given(
    count=st.integers(1, 5),
    every_s=st.floats(0.1, 10.0),
    pauses_s=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60),
)
def test_an_allowance_bounds_what_is_taken(count: int, every_s: float, pauses_s: list[float]) -> None:
    """From any moment to any other: so many at once, and one more in each span of time."""
    clock = Clock(0.0)
    allowance = Allowance(count, every_s, clock)
    taken_s: list[float] = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        if allowance.take():
            taken_s.append(clock.now_s)
    for first, since_s in enumerate(taken_s):
        for last in range(first, len(taken_s)):
            assert last - first + 1 <= count + (taken_s[last] - since_s) / every_s + 1e-6


def test_rounds_out_of_turn_are_few() -> None:
    """Some at once, as where a pipeline ends; and then a quarter of those that come in turn."""
    clock = Clock(0.0)
    allowance = Turns(1.0, clock, is_in_step=True).out_of_turn()
    assert [allowance.take() for _ in range(HURRIES + 1)] == [True] * HURRIES + [False]
    clock.now_s = HURRY_INTERVALS - 0.1
    assert not allowance.take()
    clock.now_s = HURRY_INTERVALS + 0.1
    assert [allowance.take(), allowance.take()] == [True, False]
