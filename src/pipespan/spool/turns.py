"""When somebody who comes again and again has a turn: pure arithmetic on a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MIN_INTERVAL_S: Final = 0.01
"""A thread that never paused would take a core."""


class Turns:
    """The moments of the rounds of one shipper, or of another thread.

    Args:
        interval_s: between two rounds.
        clock_s: seconds that never go back, the same in all processes of a host.
        is_in_step: the moments are those of all others that are in step, too: who ships for them can do so in one
            transaction. Else each has its own, so that a host's processes do not all come at once.
    """

    def __init__(self, interval_s: float, clock_s: Callable[[], float], *, is_in_step: bool) -> None:
        self._interval_s = max(interval_s, MIN_INTERVAL_S)
        self._clock_s = clock_s
        self._phase_s = 0.0 if is_in_step else clock_s()

    @property
    def interval_s(self) -> float:
        """Seconds between two rounds."""
        return self._interval_s

    def until_first_s(self) -> float:
        """Return the pause before the first round."""
        return self._interval_s - (self._clock_s() - self._phase_s) % self._interval_s

    def until_next_s(self) -> float:
        """Return the pause before the next round: half an interval at least, so that a slow store can breathe."""
        left_s = self.until_first_s()
        return left_s if left_s > self._interval_s / 2 else left_s + self._interval_s
