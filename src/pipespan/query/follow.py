"""Log records as they arrive, each exactly once.

Ids are given out when a row is written, but a row is seen when its transaction commits: a slower transaction
may show lower ids after a faster one has shown higher ones. So the cursor trails behind: what was seen within
the last `TRAIL_S` seconds is read again and compared, and only what is older is left behind for good.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from pipespan.errors import StoreUnavailableError
from pipespan.model.records import LogRecord
from pipespan.store.base import LogFilter, Source

POLL_S: Final = 0.5
"""How often new records are asked for."""

TRAIL_S: Final = 15.0
"""How much slower than another a writing transaction may be without its rows being missed; they take well under 1 s."""

TRAIL_ROWS: Final = 20_000
"""Most rows that are remembered and read again; a flood shortens the trail rather than growing without end."""

PAGE_ROWS: Final = 2_000
"""Rows per question."""

BACKLOG_IDS: Final = 10_000
"""How far below the newest id of the backlog rows may lie that were not committed yet when it was read."""

END_GRACE_S: Final = 2.0
"""So long after the experiment has ended its last lines may still arrive: they travel behind its outcome."""

SETTLE_S: Final = 0.2
"""The same for one that was over already when following began."""


class TrailingCursor:
    """Remembers which ids were seen lately, and up to which id all is left behind."""

    def __init__(self, after_id: int, *, trail_s: float = TRAIL_S, trail_rows: int = TRAIL_ROWS) -> None:
        self._after_id = after_id
        self._trail_s = trail_s
        self._trail_rows = trail_rows
        self._order: deque[tuple[int, float]] = deque()
        self._seen: set[int] = set()

    @property
    def after_id(self) -> int:
        """Only rows with higher ids need to be read."""
        return self._after_id

    def fresh(self, records: Iterable[LogRecord], now_s: float) -> list[LogRecord]:
        """Return those of `records` that were not seen before, and remember them as seen at `now_s`."""
        new = [one for one in records if one.id > self._after_id and one.id not in self._seen]
        for one in new:
            self._seen.add(one.id)
            self._order.append((one.id, now_s))
        return new

    def advance(self, now_s: float) -> None:
        """Leave behind what was seen long ago, or what is too much to remember."""
        while self._order and (
            self._order[0][1] <= now_s - self._trail_s or len(self._order) > self._trail_rows
        ):
            old_id, _ = self._order.popleft()
            self._after_id = max(self._after_id, old_id)
            self._seen.discard(old_id)


@dataclass(frozen=True, slots=True)
class Following:
    """What `follow_logs` needs of the outside.

    Attributes:
        is_over: whether the experiment has ended; asked once per poll.
        on_outage: told once when the database cannot be reached any more; following goes on.
        sleep: waits so many seconds.
        clock: monotonic seconds.
        poll_s: seconds between two questions.
        end_grace_s: seconds without new records after the end before following ends.
        settle_s: the same when it was over from the start.
    """

    is_over: Callable[[], bool]
    on_outage: Callable[[StoreUnavailableError], None] = lambda _error: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    poll_s: float = POLL_S
    end_grace_s: float = END_GRACE_S
    settle_s: float = SETTLE_S


def follow_logs(
    source: Source, experiment_id: str, wanted: LogFilter, following: Following
) -> Iterator[LogRecord]:
    """Yield the newest `wanted.limit` records, then all later ones as they arrive, until the experiment is over.

    The backlog comes in order of time, what follows in order of arrival.

    Raises:
        StoreUnavailableError: the database cannot be reached at the start; later it is waited for.
    """
    backlog = source.logs(experiment_id, replace(wanted, after_id=None))
    yield from backlog
    cursor = _cursor_after(source, experiment_id, wanted, backlog, following.clock())
    quiet_since: float | None = None
    is_out = False
    grace_s = following.settle_s
    while True:
        is_news = False
        try:
            is_over = following.is_over()  # asked first, so that what was logged before the end is still read
            for page in _pages(source, experiment_id, wanted, cursor.after_id):
                fresh = cursor.fresh(page, following.clock())
                is_news = is_news or bool(fresh)
                yield from fresh
            is_out = False
        except StoreUnavailableError as error:
            if not is_out:
                following.on_outage(error)
            is_out, is_over = True, False
        now_s = following.clock()
        cursor.advance(now_s)
        if not is_over or is_news:
            quiet_since = None
        if not is_over:
            grace_s = following.end_grace_s
        else:
            quiet_since = now_s if quiet_since is None else quiet_since
            if now_s - quiet_since >= grace_s:
                return
        following.sleep(min(following.poll_s, grace_s))


def _pages(source: Source, experiment_id: str, wanted: LogFilter, after_id: int) -> Iterator[list[LogRecord]]:
    while True:
        page = source.logs(experiment_id, replace(wanted, after_id=after_id, limit=PAGE_ROWS))
        if page:
            yield page
        if len(page) < PAGE_ROWS:
            return
        after_id = page[-1].id


def _cursor_after(
    source: Source, experiment_id: str, wanted: LogFilter, backlog: list[LogRecord], now_s: float
) -> TrailingCursor:
    """Return a cursor that takes what `backlog` shows, and what it left out as too old, as seen."""
    if not backlog:
        return TrailingCursor(0)
    newest_id = max(one.id for one in backlog)
    cursor = TrailingCursor(max(0, newest_id - BACKLOG_IDS))
    cursor.fresh(backlog, now_s)
    if len(backlog) >= wanted.limit:
        oldest_shown = backlog[0].timestamp
        for page in _pages(source, experiment_id, wanted, cursor.after_id):
            cursor.fresh([one for one in page if one.id < newest_id and one.timestamp <= oldest_shown], now_s)
            if page[-1].id >= newest_id:
                break
    return cursor
