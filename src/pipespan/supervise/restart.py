"""Whether a command that has ended is started again, and when: pure decisions, no clock and no process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

RestartMode = Literal["never", "on-failure", "always"]

RESTART_MODES: Final[tuple[RestartMode, ...]] = ("never", "on-failure", "always")

DEFAULT_BACKOFF_S: Final = 1.0
"""Pause before the first restart; each further one in a row takes twice as long."""

MAX_BACKOFF_S: Final = 300.0
"""No pause is longer, unless the first one was asked to be."""

SETTLED_S: Final = 60.0
"""An attempt that lived so long was a healthy one: after it the pauses begin anew."""

CRASH_LOOP_ATTEMPTS: Final = 5
"""So many failures in a row, none of which lived long enough, are a crash loop; it is stopped."""

CRASH_LOOP_LIFE_S: Final = 10.0
"""What lived shorter than this does not count as having worked at all."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What was asked for.

    Attributes:
        mode: after which ends the command is started again.
        max_restarts: how often at most, None without limit; the crash-loop stop is in force either way.
        backoff_s: pause before the first restart.
    """

    mode: RestartMode = "never"
    max_restarts: int | None = None
    backoff_s: float = DEFAULT_BACKOFF_S


@dataclass(frozen=True, slots=True)
class Life:
    """How one attempt went, as far as a restart depends on it.

    Attributes:
        lived_s: from its start to its end.
        has_succeeded: whether it returned 0.
        was_told: whether it ended because somebody told it to: Ctrl-C, `pipespan stop`, SIGTERM to us.
        has_started: False when there is no such command, or it cannot be executed.
    """

    lived_s: float
    has_succeeded: bool
    was_told: bool = False
    has_started: bool = True


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after a pause."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class End:
    """Leave it ended.

    Attributes:
        reason: why no further attempt is made although the mode asks for one; None when it does not.
    """

    reason: str | None = None


def decide(policy: RestartPolicy, lives: Sequence[Life]) -> Restart | End:
    """Return what follows the last of `lives`, which are all attempts so far in their order."""
    last = lives[-1]
    if last.was_told or policy.mode == "never" or (last.has_succeeded and policy.mode == "on-failure"):
        return End()
    if not last.has_started and len(lives) == 1:
        return End("it cannot be started")
    if policy.max_restarts is not None and len(lives) > policy.max_restarts:
        return End(f"it was started again {_times(policy.max_restarts)}, as often as it may be")
    if is_crash_loop(lives):
        return End(
            f"crash loop: {CRASH_LOOP_ATTEMPTS} failures in a row within {CRASH_LOOP_LIFE_S:.0f} s each"
        )
    return Restart(backoff_s(policy.backoff_s, _in_a_row(lives)))


def is_crash_loop(lives: Sequence[Life]) -> bool:
    """Tell whether the last attempts all failed before they could have done anything."""
    recent = lives[-CRASH_LOOP_ATTEMPTS:]
    return len(recent) == CRASH_LOOP_ATTEMPTS and all(
        not life.has_succeeded and life.lived_s < CRASH_LOOP_LIFE_S for life in recent
    )


def backoff_s(first_s: float, in_a_row: int) -> float:
    """Return the pause before the restart that follows `in_a_row` short attempts; 0 or 1 gives the first pause."""
    limit_s = max(MAX_BACKOFF_S, first_s)
    # The exponent is bounded too: a float overflows at 1024 doublings.
    return min(first_s * 2.0 ** min(max(in_a_row - 1, 0), 64), limit_s)


def _in_a_row(lives: Sequence[Life]) -> int:
    """Return how many attempts since the last healthy one, which itself does not count."""
    count = 0
    for life in reversed(lives):
        if life.lived_s >= SETTLED_S:
            break
        count += 1
    return count


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
