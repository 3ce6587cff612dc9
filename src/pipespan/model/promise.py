"""What a node's own pace promises: how long nothing may move before its work counts as stuck. Pure arithmetic.

A promise is learnt from the gaps between movements. It is generous, because a false alarm costs more trust than a
late one: many times the usual gap, several times the longest one that was seen, and never below a floor. And it is
honest: who has shown no pace yet has promised nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

FLOOR_S: Final = 30.0
"""A learnt promise is never shorter: a garbage collection, a retry or a slow disk take some seconds."""

MIN_GAPS: Final = 5
"""Before so many gaps were seen there is no promise."""

TYPICAL_FACTOR: Final = 10.0
"""So many usual gaps may pass."""

LONGEST_FACTOR: Final = 4.0
"""So many times the longest gap may pass: a checkpoint that came once will come again, and may take longer then."""

OUTLIER_FACTOR: Final = 2.0
"""A gap counts at most as so many promises: one stall must not make the detector deaf for the next one."""

_MEMORY_GAPS: Final = 20
"""The usual gap is a mean in which so many recent gaps count most."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """What was seen of the gaps between movements.

    Attributes:
        count: how many there were.
        typical_s: their mean, recent ones weighing more.
        longest_s: the longest.
    """

    count: int = 0
    typical_s: float = 0.0
    longest_s: float = 0.0

    def then(self, gap_s: float, floor_s: float = FLOOR_S) -> Gaps:
        """Return what is known after one more gap; odd values change nothing."""
        if not math.isfinite(gap_s) or gap_s <= 0:
            return self
        promised_s = self.promise_s(floor_s)
        if promised_s is not None:
            gap_s = min(gap_s, OUTLIER_FACTOR * promised_s)
        count = self.count + 1
        share = 1.0 / min(count, _MEMORY_GAPS)
        # Never above the longest, whatever rounding does.
        longest_s = max(self.longest_s, gap_s)
        typical_s = min(self.typical_s + (gap_s - self.typical_s) * share, longest_s)
        return Gaps(count, typical_s, longest_s)

    def promise_s(self, floor_s: float = FLOOR_S) -> float | None:
        """Return how long nothing may move, None when too little was seen to promise anything."""
        if self.count < MIN_GAPS:
            return None
        return max(floor_s, TYPICAL_FACTOR * self.typical_s, LONGEST_FACTOR * self.longest_s)


def repeat_after_s(idle_s: float, least_s: float) -> float:
    """Return when to tell again of a stall that has lasted `idle_s`: after as long again, at least `least_s`."""
    return max(least_s, idle_s)
