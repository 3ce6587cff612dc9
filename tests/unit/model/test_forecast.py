from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipespan.model.forecast import HORIZON_S, MIN_SAMPLES, growth_per_s, reaches_in_s, slope_per_s

VALUES = st.lists(st.floats(0, 1e9), min_size=2, max_size=40)


def line(slope: float, count: int, *, start: float = 0.0, step_s: float = 2.0) -> list[tuple[float, float]]:
    return [(number * step_s, start + slope * number * step_s) for number in range(count)]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e9), st.integers(2, 60))
def test_the_slope_of_a_line_is_its_slope(slope: float, start: float, count: int) -> None:
    """Whatever the offset."""
    assert slope_per_s(line(slope, count, start=start)) == pytest.approx(slope, rel=1e-3, abs=1e-3)


@given(st.floats(1.0, 1e6), st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=3), st.randoms())
def test_a_few_odd_samples_move_it_little(slope: float, odd: list[float], random: object) -> None:
    """Three of thirty samples may be anything."""
    samples = line(slope, 30)
    for number, value in enumerate(odd):
        at = 4 + 9 * number
        samples[at] = (samples[at][0], value)
    found = slope_per_s(samples)
    assert found is not None
    assert 0.5 * slope <= found <= 2 * slope


@given(VALUES)
def test_the_slope_lies_between_the_steepest_and_the_flattest_pair(values: list[float]) -> None:
    """It is one of those that were seen, or between two of them."""
    samples = [(float(number), value) for number, value in enumerate(values)]
    found = slope_per_s(samples)
    pairs = [(b[1] - a[1]) / (b[0] - a[0]) for a in samples for b in samples if b[0] > a[0]]
    assert found is not None
    assert min(pairs) <= found <= max(pairs)


def test_without_time_there_is_no_slope() -> None:
    """Samples at one moment say nothing."""
    assert slope_per_s([(1.0, 1.0), (1.0, 9.0)]) is None
    assert slope_per_s([]) is None


@given(VALUES)
def test_growth_is_never_negative_and_needs_enough_samples(values: list[float]) -> None:
    """Memory that shrinks does not grow; few samples say nothing."""
    samples = [(2.0 * number, value) for number, value in enumerate(values)]
    growth = growth_per_s(samples)
    assert growth >= 0
    if len(samples) < MIN_SAMPLES:
        assert growth == 0


@given(st.integers(10, 30), st.floats(1e3, 1e6))
def test_what_was_loaded_once_is_no_growth(count: int, slope: float) -> None:
    """A rise that is over counts no more."""
    rise = line(slope, count)
    flat = [(rise[-1][0] + 2.0 * number, rise[-1][1]) for number in range(1, count + 3)]
    assert growth_per_s(rise + flat) == 0


@given(st.floats(1e3, 1e7), st.floats(1e6, 1e11), st.integers(MIN_SAMPLES, 40))
def test_steady_growth_reaches_the_limit_when_arithmetic_says(
    slope: float, headroom: float, count: int
) -> None:
    """Headroom by slope, unless that is too far ahead or the growth is noise."""
    samples = line(slope, count)
    assume(samples[-1][0] >= 10)
    limit = headroom + samples[-1][1]
    left_s = reaches_in_s(samples, headroom, limit)
    if left_s is None:
        assert headroom / slope > HORIZON_S * 0.999 or samples[-1][1] < 0.0101 * limit
    else:
        assert left_s == pytest.approx(headroom / slope, rel=1e-6)
        assert 0 <= left_s <= HORIZON_S
