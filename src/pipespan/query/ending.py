"""When waiting for an experiment is over: it has ended, or it is dead and nobody starts it anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pipespan.model.health import Health
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.resolve import by_id
from pipespan.query.status import health_of
from pipespan.store.base import Source

DEAD_GRACE_S: Final = 10.0
"""An experiment that died before our eyes is waited for so long: a supervisor may start it anew."""

CONFIRM_S: Final = 1.0
"""One that was dead when it was first looked at is looked at once more after this."""

HEALTH_LOOK_S: Final = 2.0
"""Looking at the health asks for all jobs and their processes, so it is done no more often than this."""


class DeathWatch:
    """Tells when a dead experiment is not waited for any more."""

    def __init__(self) -> None:
        self._dead_since_s: float | None = None
        self._grace_s = CONFIRM_S

    @property
    def is_in_doubt(self) -> bool:
        """Whether it was dead at the last look."""
        return self._dead_since_s is not None

    def is_hopeless(self, health: Health, now_s: float) -> bool:
        """Take in the health at `now_s`, monotonic seconds, and return whether to give up."""
        if health.word != "dead":
            self._dead_since_s = None
            self._grace_s = DEAD_GRACE_S
            return False
        if self._dead_since_s is None:
            self._dead_since_s = now_s
        return now_s - self._dead_since_s >= self._grace_s


class EndWatch:
    """Asks a store whether an experiment has ended or died."""

    def __init__(
        self, source: Source, experiment_id: str, *, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._experiment_id = experiment_id
        self._now = now
        self._clock = clock
        self._deaths = DeathWatch()
        self._next_look_s = clock()
        self._reason: str | None = None

    @property
    def death(self) -> str | None:
        """Why the experiment is taken for dead for good; None when it is not."""
        return self._reason

    def is_over(self) -> bool:
        """Ask whether nothing more is to be expected.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        experiment = by_id(self._source, self._experiment_id)
        if experiment.status in TERMINAL_STATUSES:
            self._reason = None
            return True
        now_s = self._clock()
        if now_s < self._next_look_s:
            return self._reason is not None
        health = health_of(self._source, experiment, self._now())
        self._reason = health.reason if self._deaths.is_hopeless(health, now_s) else None
        self._next_look_s = now_s + (CONFIRM_S if self._deaths.is_in_doubt else HEALTH_LOOK_S)
        return self._reason is not None
