"""Which partitions rules apply to, and in which order a size is come down to; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipespan.store.maintenance import PruneRules
from pipespan.store.postgres.maintain import Session

LOGS = "pipeline_logs"


@dataclass(frozen=True, slots=True)
class Part:
    """A partition as the database lists it; the default one has neither start nor end."""

    table: str
    name: str
    relation: int
    starts_at: datetime | None
    ends_at: datetime | None
    is_default: bool
    rows: int
    bytes: int


def parts_of(session: Session) -> list[Part]:
    """Return all partitions, by table and time."""
    return [Part(*row) for row in session.rows("maintenance_partitions")]


def live_bytes(session: Session) -> int:
    """Return the size of everything, without the room that deleted rows left."""
    return sum(row[3] for row in session.rows("maintenance_sizes"))


def day_of(moment: datetime | None) -> datetime | None:
    """Return the start of the day (UTC)."""
    return None if moment is None else moment.replace(hour=0, minute=0, second=0, microsecond=0)


def is_concerned(part: Part, rules: PruneRules) -> bool:
    """Tell whether a partition lies wholly before a bound that applies to it."""
    return is_before(part, rules.rest_before) or (part.table == LOGS and is_before(part, rules.mild_before))


def is_before(part: Part, bound: datetime | None) -> bool:
    """Tell whether a partition ends before a bound; the default one never does."""
    return part.ends_at is not None and bound is not None and part.ends_at <= bound


def size_steps(parts: Sequence[Part], now: datetime) -> Iterator[PruneRules]:
    """Give bounds that let go more and more, the oldest days first, never today.

    First those that let go logs below ERROR, then those that let go everything.
    """
    ended = [(one.ends_at, one.table) for one in parts if one.ends_at is not None and one.ends_at <= now]
    for end in sorted({end for end, table in ended if table == LOGS}):
        yield PruneRules(mild_before=end)
    for end in sorted({end for end, _ in ended}):
        yield PruneRules(mild_before=end, rest_before=end)
