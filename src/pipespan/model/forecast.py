"""When a limit will be reached, from samples of what grows: pure arithmetic.

The slope is the median of the slopes between all pairs of samples (Theil and Sen), so that a few odd samples, up to
some 29 % of them, move it little. It counts only if the later half of the samples grows too: what was loaded once
and stays is no leak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MIN_SAMPLES: Final = 8
"""Fewer say nothing."""

MIN_SPAN_S: Final = 10.0
"""Samples over a shorter time say nothing: starting up looks like growing."""

HORIZON_S: Final = 3600.0
"""What lies further ahead is not worth a warning."""

MIN_RISE: Final = 0.01
"""Growth over all samples that is less than this share of the limit is noise."""

Sample = tuple[float, float]
"""Seconds of any clock, and the value."""


def slope_per_s(samples: Sequence[Sample]) -> float | None:
    """Return the robust slope of `samples`, None when no time passes between any two of them."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(samples)
        for later in samples[number + 1 :]
        if later[0] > earlier[0]
    ]
    return _median(slopes) if slopes else None


def _median(values: list[float]) -> float:
    # The library's `statistics` takes longer to import than all of this package's models.
    values.sort()
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def growth_per_s(samples: Sequence[Sample]) -> float:
    """Return how fast the value grows steadily, 0.0 when it does not or when there is too little to tell."""
    if len(samples) < MIN_SAMPLES or samples[-1][0] - samples[0][0] < MIN_SPAN_S:
        return 0.0
    whole, late = slope_per_s(samples), slope_per_s(samples[len(samples) // 2 :])
    if whole is None or late is None or not (math.isfinite(whole) and math.isfinite(late)):
        return 0.0
    return max(min(whole, late), 0.0)


def reaches_in_s(samples: Sequence[Sample], headroom: float, limit: float) -> float | None:
    """Return in how many seconds `headroom` is used up; None when it is not to be expected within `HORIZON_S`.

    Args:
        samples: of what grows, in order of time.
        headroom: how much more there is room for.
        limit: the whole, to tell growth from noise.
    """
    growth = growth_per_s(samples)
    if growth <= 0 or growth * (samples[-1][0] - samples[0][0]) < MIN_RISE * limit:
        return None
    left_s = max(headroom, 0.0) / growth
    return left_s if left_s <= HORIZON_S else None
