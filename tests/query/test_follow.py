from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipespan.errors import StoreUnavailableError
from pipespan.model.records import LogRecord
from pipespan.query import follow
from pipespan.query.follow import Following, TrailingCursor, follow_logs
from pipespan.store.base import LogFilter
from tests.query.samples import EXPERIMENT_ID, ListSource, log


@dataclass
class World:
    """A source whose rows appear while the follower sleeps."""

    source: ListSource = field(default_factory=ListSource)
    batches: list[list[LogRecord]] = field(default_factory=list)
    now_s: float = 0.0
    outages_told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.batches:
            self.source.all_logs.extend(self.batches.pop(0))

    def following(self, is_over: Callable[[], bool] | None = None) -> Following:
        return Following(
            is_over=is_over or (lambda: not self.batches),
            on_outage=lambda error: self.outages_told.append(str(error)),
            sleep=self.sleep,
            clock=lambda: self.now_s,
        )

    def ids(self, wanted: LogFilter | None = None) -> list[int]:
        wanted = wanted or LogFilter()
        return [one.id for one in follow_logs(self.source, EXPERIMENT_ID, wanted, self.following())]


def test_backlog_then_news() -> None:
    """The newest records come first, in order of time, then what arrives, until the experiment is over."""
    world = World(batches=[[log(11)], [], [log(12), log(13)]])
    world.source.all_logs = [log(number) for number in range(1, 11)]
    assert world.ids(LogFilter(limit=3)) == [8, 9, 10, 11, 12, 13]


def test_slower_transaction_is_not_missed() -> None:
    """Rows with lower ids that are committed after higher ones still come, once."""
    world = World(batches=[[log(20), log(21)], [log(15), log(16)], [log(22)]])
    world.source.all_logs = [log(10)]
    assert world.ids() == [10, 20, 21, 15, 16, 22]


def test_slower_transaction_below_the_backlog_is_not_missed() -> None:
    """That holds for rows whose ids lie below the newest of the backlog, too."""
    late = [log(5, timestamp=log(30).timestamp)]
    world = World(batches=[late])
    world.source.all_logs = [log(number) for number in (1, 2, 3, 10, 11)]
    assert world.ids(LogFilter(limit=2)) == [10, 11, 5]


def test_old_records_beyond_the_limit_stay_away() -> None:
    """What the limit left out of the backlog does not come in by the trailing window."""
    world = World(batches=[[log(1001)]])
    world.source.all_logs = [log(number) for number in range(1, 1001)]
    assert world.ids(LogFilter(limit=1)) == [1000, 1001]


def test_flood_is_read_in_pages() -> None:
    """More rows than one page arrive completely, in order, once."""
    flood = [log(number) for number in range(2, follow.PAGE_ROWS * 2 + 10)]
    world = World(batches=[flood])
    world.source.all_logs = [log(1)]
    assert world.ids() == list(range(1, follow.PAGE_ROWS * 2 + 10))


def test_last_lines_after_the_end_still_come() -> None:
    """Lines that travel behind the outcome arrive within the grace."""
    world = World()
    world.source.all_logs = [log(1)]
    ended = iter([False])
    following = world.following(lambda: next(ended, True))
    followed = follow_logs(world.source, EXPERIMENT_ID, LogFilter(), following)
    assert next(followed).id == 1
    world.batches = [[], [], [log(2)]]
    assert [one.id for one in followed] == [2]
    assert world.now_s >= follow.END_GRACE_S


def test_following_what_has_ended_returns_at_once() -> None:
    """Of an experiment that was over before, only lines that are just arriving are waited for."""
    world = World(batches=[[log(2)]])
    world.source.all_logs = [log(1)]
    followed = follow_logs(world.source, EXPERIMENT_ID, LogFilter(), world.following(lambda: True))
    assert [one.id for one in followed] == [1, 2]
    assert world.now_s <= 0.5


def test_outage_is_told_once_and_waited_out() -> None:
    """A database that goes away and comes back costs no line and no repetition."""
    world = World(batches=[[log(2)], [], [], [log(3)]])
    world.source.all_logs = [log(1)]
    followed = follow_logs(world.source, EXPERIMENT_ID, LogFilter(), world.following())
    first = next(followed)
    world.source.outages = 2
    assert [first.id, *(one.id for one in followed)] == [1, 2, 3]
    assert len(world.outages_told) == 1


def test_outage_at_the_start_is_the_callers() -> None:
    """A database that was never there is an error, not something to wait for."""
    world = World()
    world.source.outages = 1
    with pytest.raises(StoreUnavailableError):
        world.ids()


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_commits_gives_each_record_once(seed: int) -> None:
    """Whatever the interleaving of several writers' transactions, nothing is missed and nothing repeated."""
    dice = random.Random(seed)
    ids = itertools.count(1)
    open_batches: list[list[LogRecord]] = []
    polls: list[list[LogRecord]] = []
    for _ in range(40):
        open_batches.append([log(next(ids)) for _ in range(dice.randint(1, 5))])
        committed = [batch for batch in open_batches if dice.random() < 0.4]
        open_batches = [batch for batch in open_batches if batch not in committed]
        polls.append([record for batch in committed for record in batch])
    polls.append([record for batch in open_batches for record in batch])
    world = World(batches=polls)
    seen = world.ids()
    assert sorted(seen) == list(range(1, next(ids)))
    assert len(seen) == len(set(seen))


def test_memory_of_the_cursor_is_bounded() -> None:
    """In a flood the trail gets shorter, not the memory longer."""
    cursor = TrailingCursor(0, trail_s=1e9, trail_rows=100)
    for number in range(1, 1001):
        assert cursor.fresh([log(number)], 0.0)
        cursor.advance(0.0)
    assert cursor.after_id == 900
