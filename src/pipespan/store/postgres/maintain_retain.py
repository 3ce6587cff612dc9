"""Applies the rules of retention that are in force, if it is time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pipespan.model.retention import Retention
from pipespan.store.maintenance import PruneRules
from pipespan.store.postgres.connect import Scope, Timeouts, open_connection, translated
from pipespan.store.postgres.maintain import Session, rules_in_force
from pipespan.store.postgres.maintain_prune import prune
from pipespan.store.sqlfiles import open_sql

TIMEOUTS: Final = Timeouts(statement_s=120, lock_s=60)
"""Bounds of each step; the functions themselves wait much shorter for locks that others wait behind."""


def prune_rules(rules: Retention, now: datetime) -> PruneRules:
    """Return what the rules of a database mean at this moment."""

    def before(days: int | None) -> datetime | None:
        return None if days is None else now - timedelta(days=days)

    return PruneRules(before(rules.mild_days), before(rules.rest_days), rules.max_bytes)


def retain(
    dsn: str, default: Retention | None, may_go_on: Callable[[], bool], *, schema: str | None = None
) -> bool:
    """Apply the rules of a database if it is time for it; return whether that was done to the end.

    Raises:
        StoreError: the database does not let us.
    """
    with open_connection(dsn) as connection, translated():
        session = Session(connection, open_sql(), Scope(TIMEOUTS, schema))
        rules = rules_in_force(session, default)
        if rules is None:
            return False
        now = session.one("claim_retention")
        if now is None:
            return False
        report = prune(session, prune_rules(rules, now), may_go_on=may_go_on)
        if report.is_complete:
            session.run("finish_retention")
        return report.is_complete
