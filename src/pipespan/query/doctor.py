"""What the figures of an inspection mean: findings, each with its remedy; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from pipespan.store.maintenance import DEFAULT_ROWS_COUNTED, Inspection

Level = Literal["ok", "note", "problem"]

SLOW_QUERY_S: Final = 1.0
"""A reading command that takes longer than this keeps people waiting."""

DEAD_SHARE: Final = 0.5
"""Above this share of dead rows autovacuum does not keep up."""

DEAD_ROWS: Final = 50_000
"""Fewer dead rows are no trouble, whatever their share."""

OVERDUE: Final = timedelta(days=2)
"""Retention works by whole days and runs beside writers; it is late only after this time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str


def is_healthy(findings: list[Finding]) -> bool:
    """Tell whether nothing that was found needs mending."""
    return all(one.level != "problem" for one in findings)


def diagnose(found: Inspection) -> list[Finding]:
    """Return what `found` amounts to, in the order in which it is told."""
    if found.schema_trouble is not None:
        return [Finding("problem", "schema", found.schema_trouble)]
    schema = f"version {found.schema_version}, up to date"
    return [
        Finding("ok", "schema", schema),
        *_partitions(found),
        *_dead(found),
        *_queries(found),
        *_indexes(found),
        *_retention(found),
    ]


def _partitions(found: Inspection) -> Iterator[Finding]:
    is_well = True
    for one in found.partitions:
        if one.default_rows:
            is_well = False
            count = f"{one.default_rows:,}" if one.default_rows < DEFAULT_ROWS_COUNTED else "more than 10,000"
            yield Finding(
                "problem",
                "partitions",
                f"{count} rows of {one.table} are in its default partition: their clocks were far off, or no partition"
                f" was there; look at them in {one.table}_default",
            )
        if one.ends_at is None or one.ends_at <= found.now:
            is_well = False
            yield Finding(
                "note",
                "partitions",
                f"{one.table} has none for today; the next writer makes it, unless it lacks the rights",
            )
    if is_well:
        yield Finding("ok", "partitions", "made ahead, and none of the default ones has rows")


def _dead(found: Inspection) -> Iterator[Finding]:
    bad = [
        one for one in found.dead if one.dead > DEAD_ROWS and one.dead > DEAD_SHARE * (one.live + one.dead)
    ]
    for one in bad:
        yield Finding(
            "problem",
            "dead rows",
            f"{one.table} has {one.dead:,} dead rows beside {one.live:,}; run `vacuum {one.table}`, and see that"
            " autovacuum is on",
        )
    if not bad:
        yield Finding("ok", "dead rows", f"{sum(one.dead for one in found.dead):,}, no trouble")


def _queries(found: Inspection) -> Iterator[Finding]:
    slow = [one for one in found.queries if one.seconds is None or one.seconds > SLOW_QUERY_S]
    for one in slow:
        took = "was cut off" if one.seconds is None else f"took {one.seconds:.1f} s"
        yield Finding(
            "problem",
            "queries",
            f"{one.name!r} of the newest experiment {took}; run `analyze`, and look at load",
        )
    timed = [(one.seconds, one.name) for one in found.queries if one.seconds is not None]
    if timed and not slow:
        seconds, name = max(timed)
        yield Finding("ok", "queries", f"the slowest of {len(timed)} is {name!r}: {seconds * 1000:.0f} ms")


def _indexes(found: Inspection) -> Iterator[Finding]:
    broken = [one.name for one in found.indexes if not one.is_valid]
    for name in broken:
        yield Finding("problem", "indexes", f"{name} is not valid; run `reindex index {name}`")
    if not broken:
        used = sum(one.scans > 0 for one in found.indexes)
        yield Finding("ok", "indexes", f"{len(found.indexes)}, of which {used} were used so far")


def _retention(found: Inspection) -> Iterator[Finding]:
    state = found.retention
    if state.rules is None:
        text = (
            "off: nothing is ever removed by itself"
            if state.is_set
            else "unset: nothing is ever removed by itself; set it by `pipespan db migrate --retention on`, or `off`"
        )
        yield Finding("note", "retention", text)
        return
    late = None if state.oldest_overdue_at is None else found.now - state.oldest_overdue_at
    if late is not None and late > OVERDUE:
        yield Finding(
            "problem",
            "retention",
            f"{state.overdue} partitions should have gone, the first {late.days} days ago;"
            " see why by `pipespan db prune`",
        )
    total = sum(one.live_bytes for one in found.sizes)
    limit = state.rules.max_bytes
    if limit is not None and total > limit * 1.1:
        yield Finding(
            "problem",
            "retention",
            f"{total / 1e9:.2f} GB are kept, {limit / 1e9:g} GB are set; what is pinned or of today stays, see"
            " `pipespan db prune --dry-run`",
        )
    elif late is None or late <= OVERDUE:
        yield Finding("ok", "retention", "kept")
