"""When somebody who comes again and again has a turn, and how often out of turn: pure arithmetic on a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MIN_INTERVAL_S: Final = 0.01
"""A thread that never paused would take a core."""


HURRIES: Final = 4
"""So many rounds in a row may come out of turn."""

HURRY_INTERVALS: Final = 4
"""And one more after so many intervals: a program that hurries all the time has a quarter more rounds."""


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

    def out_of_turn(self) -> Allowance:
        """Return how often rounds may come at other moments."""
        return Allowance(HURRIES, HURRY_INTERVALS * self._interval_s, self._clock_s)


class Allowance:
    """So many times at once, and once more whenever some time has passed.

    Args:
        count: how often at once.
        every_s: how long it takes until there is one more.
        clock_s: seconds that never go back.
    """

    def __init__(self, count: int, every_s: float, clock_s: Callable[[], float]) -> None:
        self._count = count
        self._every_s = every_s
        self._clock_s = clock_s
        self._left = float(count)
        self._at_s = clock_s()

    def take(self) -> bool:
        """Take one; return whether there was one."""
        now_s = self._clock_s()
        self._left = min(self._left + (now_s - self._at_s) / self._every_s, self._count)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
