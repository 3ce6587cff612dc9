"""What is asked of programs, looked for once for all of them that look at the same moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from pipespan.store.base import Desk, RequestRow

FRESH_S: Final = 0.3
"""So long nobody asks the database again: what comes meanwhile is found when the program looks the next time."""

REMEMBERED_S: Final = 5.0
"""A program that has not looked for so long has ended, or looks seldom."""


class Inquiries:
    """Looks for open requests (`pipespan.store.base.Desk`) with as few queries as there can be.

    Nearly always nothing is asked of anybody. So a query is for the jobs of all programs that looked lately, and those
    that come right behind are told without one. Where something is asked, each program has a query of its own.

    Args:
        clock_s: monotonic seconds.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._looked_at_s: dict[str, float] = {}
        self._unasked: frozenset[str] = frozenset()
        self._until_s = -math.inf

    def open_requests(self, sink: Desk, job_ids: Sequence[str]) -> list[RequestRow]:
        """Return what is asked of these jobs, by way of `sink`; its errors pass through."""
        now_s = self._clock_s()
        if now_s < self._until_s and self._unasked.issuperset(job_ids):
            self._looked_at_s.update(dict.fromkeys(job_ids, now_s))
            return []
        self._looked_at_s = {
            job_id: at_s for job_id, at_s in self._looked_at_s.items() if now_s - at_s < REMEMBERED_S
        }
        self._looked_at_s.update(dict.fromkeys(job_ids, now_s))
        if len(self._looked_at_s) > len(job_ids) and not sink.open_requests([*self._looked_at_s]):
            self._unasked, self._until_s = frozenset(self._looked_at_s), now_s + FRESH_S
            return []
        return sink.open_requests(job_ids)
