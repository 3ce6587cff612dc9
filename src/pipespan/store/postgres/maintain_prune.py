"""Lets old rows go: one partition, or one bounded batch of rows, in each transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import psycopg

from pipespan.store.maintenance import FreedPartition, GoneExperiment, PruneReport, PruneRules
from pipespan.store.postgres.maintain import Session
from pipespan.store.postgres.maintain_plan import (
    Part,
    day_of,
    is_before,
    is_concerned,
    live_bytes,
    parts_of,
    size_steps,
)

BATCH_ROWS: Final = 5_000
"""So many rows are deleted in one transaction; it holds their locks for some tens of milliseconds."""

BATCH_EXPERIMENTS: Final = 20
"""So many experiments go together."""

BATCH_PARTITIONS: Final = 6
"""So many are dropped under one lock, which takes about 10 ms; more would let writers wait for longer."""

_BUSY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@dataclass(slots=True)
class _Run:
    """One pruning, and what went so far."""

    session: Session
    now: datetime
    may_go_on: Callable[[], bool]
    partitions: list[FreedPartition] = field(default_factory=list)
    experiments: list[GoneExperiment] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    rows: int = 0

    def by_time(self, rules: PruneRules) -> None:
        """Let go what the bounds of `rules`, and its number of runs, let go."""
        parts = [part for part in parts_of(self.session) if is_concerned(part, rules)]
        dropped = self._whole_partitions(parts, rules)
        for part in parts:
            if part.name not in dropped and self.may_go_on():
                self._partition(part.relation, part.name, rules)
        self._rows(rules)

    def by_size(self, max_bytes: int) -> None:
        """Let go the oldest days while everything together is larger."""
        parts = parts_of(self.session)
        for step in size_steps(parts, self.now):
            if not self.may_go_on() or live_bytes(self.session) <= max_bytes:
                return
            end = step.rest_before or step.mild_before
            for part in parts:
                if part.ends_at == end and is_concerned(part, step):
                    self._partition(part.relation, part.name, step)
            if step.rest_before is not None:
                self._rows(step)

    def _whole_partitions(self, parts: Sequence[Part], rules: PruneRules) -> set[str]:
        """Drop what goes whole, some at a time; return the names, none where something is pinned."""
        found: list[FreedPartition] = []
        for table in sorted({part.table for part in parts}):
            whole = [part for part in parts if part.table == table and is_before(part, rules.rest_before)]
            for start in range(0, len(whole), BATCH_PARTITIONS):
                relations = [part.relation for part in whole[start : start + BATCH_PARTITIONS]]
                values = {"relations": relations, "rest_before": rules.rest_before}
                if self.may_go_on():
                    with suppress(*_BUSY):  # each by itself then
                        found += [
                            FreedPartition(*row) for row in self.session.rows("drop_partitions", values)
                        ]
        self.partitions += found
        return {one.partition for one in found}

    def _partition(self, relation: int, name: str, rules: PruneRules) -> None:
        values = {"relation": relation, "mild_before": rules.mild_before, "rest_before": rules.rest_before}
        try:
            found = self.session.rows("prune_partition", values)
        except _BUSY:
            self.busy.append(name)  # whoever reads or writes it goes first
            return
        self.partitions += [FreedPartition(*row) for row in found]

    def _rows(self, rules: PruneRules) -> None:
        self._default_partitions(rules)
        self._experiments(rules)
        self._streams(rules)

    def _default_partitions(self, rules: PruneRules) -> None:
        values = {
            "mild_before": day_of(rules.mild_before),
            "rest_before": day_of(rules.rest_before),
            "limit": BATCH_ROWS,
        }
        if rules.mild_before is not None or rules.rest_before is not None:
            self._in_batches("prune_default", values)

    def _experiments(self, rules: PruneRules) -> None:
        doomed = doomed_experiments(self.session, rules)
        for start in range(0, len(doomed), BATCH_EXPERIMENTS):
            some = doomed[start : start + BATCH_EXPERIMENTS]
            values = {"ids": [one.id for one in some], "seen": self.now, "limit": BATCH_ROWS}
            if self._in_batches("delete_experiments", values):
                self.experiments += some
        if doomed:
            # from it comes how much room the rows that are left take
            self.session.run("analyze_progress")

    def _streams(self, rules: PruneRules) -> None:
        if rules.rest_before is None:
            return
        values = {"before": rules.rest_before, "limit": BATCH_ROWS}
        while self.may_go_on() and self.session.one("delete_streams", values):
            pass

    def _in_batches(self, query: str, values: Mapping[str, object]) -> bool:
        """Repeat a query until it finds nothing more; return whether it came to that."""
        while self.may_go_on():
            try:
                rows = self.session.one(query, values)
            except _BUSY:
                return False
            if not rows:
                return True
            self.rows += rows
        return False


def doomed_experiments(session: Session, rules: PruneRules) -> list[GoneExperiment]:
    """Return the experiments that `rules` let go as a whole, the oldest first."""
    if rules.rest_before is None and rules.keep_runs is None:
        return []
    values = {"before": rules.rest_before, "keep_runs": rules.keep_runs}
    return [GoneExperiment(*row) for row in session.rows("doomed_experiments", values)]


def prune(session: Session, rules: PruneRules, *, may_go_on: Callable[[], bool]) -> PruneReport:
    """Remove what `rules` let go; see `pipespan.store.maintenance.Maintenance.prune`."""
    now = session.rows("maintenance_identity")[0][2]
    run = _Run(session, now, may_go_on)
    bytes_before = live_bytes(session)
    run.by_time(replace(rules, max_bytes=None))
    if rules.max_bytes is not None:
        run.by_size(rules.max_bytes)
    return PruneReport(
        partitions=tuple(_summed(run.partitions)),
        experiments=tuple({one.id: one for one in run.experiments}.values()),
        rows=run.rows,
        busy=tuple(dict.fromkeys(run.busy)),
        bytes_before=bytes_before,
        bytes_after=live_bytes(session),
        max_bytes=rules.max_bytes,
        is_complete=may_go_on(),
    )


def _summed(partitions: Sequence[FreedPartition]) -> list[FreedPartition]:
    """Return one entry for each partition: by size it may have been made smaller first and dropped later."""
    found: dict[str, FreedPartition] = {}
    for one in partitions:
        known = found.get(one.partition, FreedPartition(one.partition, 0, 0))
        found[one.partition] = FreedPartition(one.partition, known.rows + one.rows, known.bytes + one.bytes)
    return list(found.values())
