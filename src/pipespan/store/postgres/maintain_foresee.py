"""Tells what pruning would let go, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pipespan.store.maintenance import FreedPartition, GoneExperiment, PruneReport, PruneRules
from pipespan.store.postgres.maintain import Session
from pipespan.store.postgres.maintain_plan import Part, day_of, is_concerned, live_bytes, parts_of, size_steps
from pipespan.store.postgres.maintain_prune import doomed_experiments


@dataclass(slots=True)
class _Foresight:
    """What would be gone so far; rows are counted, bytes follow from their share."""

    session: Session
    parts: list[Part]
    gone: dict[str, FreedPartition] = field(default_factory=dict)
    experiments: dict[str, GoneExperiment] = field(default_factory=dict)
    default_rows: int = 0

    def by_time(self, rules: PruneRules) -> None:
        for part in self.parts:
            if is_concerned(part, rules):
                self._count(part, rules)
        self._rows(rules)

    def by_size(self, step: PruneRules) -> None:
        end = step.rest_before or step.mild_before
        for part in self.parts:
            if part.ends_at == end and is_concerned(part, step):
                self._count(part, step)
        if step.rest_before is not None:
            self._rows(step)

    def _rows(self, rules: PruneRules) -> None:
        days = PruneRules(day_of(rules.mild_before), day_of(rules.rest_before))
        default = sum(self._stale_rows(part, days) for part in self.parts if part.is_default)
        self.default_rows = max(self.default_rows, default)
        for one in doomed_experiments(self.session, rules):
            self.experiments[one.id] = one

    def _count(self, part: Part, rules: PruneRules) -> None:
        rows = self._stale_rows(part, rules)
        is_whole = rows >= part.rows
        if rows == 0 and part.rows > 0:
            return
        share = 1.0 if is_whole else rows / part.rows
        freed = FreedPartition(part.name, rows, round(part.bytes * share))
        known = self.gone.get(part.name)
        if known is None or freed.rows >= known.rows:
            self.gone[part.name] = freed

    def _stale_rows(self, part: Part, rules: PruneRules) -> int:
        values = {
            "relation": part.relation,
            "mild_before": rules.mild_before,
            "rest_before": rules.rest_before,
        }
        return int(self.session.one("count_stale", values))

    def freed_bytes(self) -> int:
        return sum(one.bytes for one in self.gone.values())


def foresee(session: Session, rules: PruneRules) -> PruneReport:
    """Return what `rules` would let go; bytes are estimates, and those of whole experiments are not among them."""
    now: datetime = session.rows("maintenance_identity")[0][2]
    found = _Foresight(session, parts_of(session))
    found.by_time(rules)
    bytes_before = live_bytes(session)
    if rules.max_bytes is not None:
        for step in size_steps(found.parts, now):
            if bytes_before - found.freed_bytes() <= rules.max_bytes:
                break
            found.by_size(step)
    return PruneReport(
        partitions=tuple(found.gone.values()),
        experiments=tuple(found.experiments.values()),
        rows=found.default_rows + _rows_of(session, found.experiments),
        bytes_before=bytes_before,
        bytes_after=max(bytes_before - found.freed_bytes(), 0),
        max_bytes=rules.max_bytes,
        is_dry_run=True,
    )


def _rows_of(session: Session, ids: Iterable[str]) -> int:
    wanted = list(ids)
    return int(session.one("count_experiment_rows", {"ids": wanted})) if wanted else 0
