"""How fast the work goes and when it will be done: pure arithmetic over what a node has told so far.

**Rate.** A `Pace` is a pair of decayed sums (units, seconds); the rate is their quotient. It starts as the mean
since the start, weighing at most `PACE_MEMORY_S` seconds, and each later stretch of `s` seconds and `u` units
makes it ``units * exp(-s / PACE_MEMORY_S) + u`` and ``seconds * exp(-s / PACE_MEMORY_S) + s``. So it is a mean of
what was really measured, in which the last half minute counts most, and it can neither overshoot nor be negative.

**ETA.** ``remaining units / rate``, less the time since the last sign of movement: it counts down between two
updates instead of growing, and stops at 0. There is none when the total is unknown, nothing was done yet, the
work has stalled, or a parent's known children are all done while it still runs.

A parent without units of its own is measured in parts per billion of itself (`pipespan.model.tree.WHOLE_PPB`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

PACE_MEMORY_S: Final = 30.0
"""After so many seconds an observation weighs 1/e: long enough to smooth batches, short enough to follow a change."""

STALL_AFTER_S: Final = 600.0
"""Work that moved before and has not for so long is taken as stalled: ten minutes outlast a checkpoint or a retry."""

STALL_AFTER_UNITS: Final = 3.0
"""Slow units need more patience: nothing has stalled before this many times the usual seconds of one unit."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A recent-weighted rate, as the decayed sums it is the quotient of."""

    units: float
    seconds: float

    @property
    def rate_per_s(self) -> float:
        """Units a second, 0.0 while nothing was measured."""
        return self.units / self.seconds if self.seconds > 0 else 0.0

    def then(self, units: float, seconds: float) -> Pace:
        """Return the pace after `seconds` more in which `units` more were done; odd values change nothing."""
        if not (math.isfinite(seconds) and math.isfinite(units)) or seconds <= 0 or units < 0:
            return self
        fade = math.exp(-seconds / PACE_MEMORY_S)
        return _remembered(self.units * fade + units, self.seconds * fade + seconds)


def initial_pace(units: float, seconds: float) -> Pace:
    """Return the mean pace since the start, as light as any memory."""
    if seconds <= 0 or units < 0:
        return Pace(0.0, 0.0)
    return _remembered(float(units), seconds)


def _remembered(units: float, seconds: float) -> Pace:
    """Return the pace of these sums, weighing `PACE_MEMORY_S` at most, so that one long silence cannot dominate."""
    share = min(1.0, PACE_MEMORY_S / seconds)
    return Pace(units * share, seconds * share)


def _sensible(rate_per_s: float) -> float | None:
    return rate_per_s if rate_per_s > 0 and math.isfinite(rate_per_s) else None


@dataclass(frozen=True, slots=True)
class Progress:
    """What one running node has done, at an instant; all times are seconds since 1970 of one clock.

    Attributes:
        completed: units done.
        total: units to do, None when nobody knows.
        started_s: when the node started, None while it is pending.
        now_s: the reader's time.
        moved_s: when `completed` was last told; None takes `now_s`.
        pace: the recent-weighted pace, where there were earlier observations; None takes the mean since the start.
        is_total_open: the total may still grow (children not known yet), so all done does not mean nearly over.
    """

    completed: int
    total: int | None
    started_s: float | None
    now_s: float
    moved_s: float | None = None
    pace: Pace | None = None
    is_total_open: bool = False

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start, never negative."""
        return 0.0 if self.started_s is None else max(0.0, self.now_s - self.started_s)

    @property
    def silence_s(self) -> float:
        """Seconds since the work last moved, never negative and never longer than `elapsed_s`."""
        if self.moved_s is None:
            return 0.0
        return min(self.elapsed_s, max(0.0, self.now_s - self.moved_s))

    @property
    def rate_per_s(self) -> float | None:
        """Units a second while it moved; None when nothing was done or no time has passed."""
        measured = self._measured_rate_per_s
        return (
            _sensible(initial_pace(self.completed, self.elapsed_s).rate_per_s)
            if measured is None
            else measured
        )

    @property
    def _measured_rate_per_s(self) -> float | None:
        """The rate up to the last movement; None when that is the start itself."""
        pace = self.pace or initial_pace(self.completed, self.elapsed_s - self.silence_s)
        return _sensible(pace.rate_per_s)

    @property
    def is_stalled(self) -> bool:
        """Whether nothing moved for longer than patience and the usual time of a unit allow."""
        rate = self.rate_per_s
        slowest = STALL_AFTER_UNITS / rate if rate else 0.0
        return self.silence_s > max(STALL_AFTER_S, slowest)

    @property
    def eta_s(self) -> float | None:
        """Seconds until done, never negative; None when it cannot be known."""
        if self.total is None or self.total <= 0 or self.is_stalled:
            return None
        remaining = max(0, self.total - self.completed)
        if remaining == 0:
            return None if self.is_total_open else 0.0
        rate = self.rate_per_s
        if rate is None:
            return None
        # A rate that already spreads the units over the silence must not be charged with it again.
        waited_s = 0.0 if self._measured_rate_per_s is None else self.silence_s
        eta_s = remaining / rate - waited_s
        return max(0.0, eta_s) if math.isfinite(eta_s) else None
