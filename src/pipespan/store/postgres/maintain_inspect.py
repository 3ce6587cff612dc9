"""Looks at what may be wrong with a database; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from pipespan.errors import SchemaError
from pipespan.model.retention import Retention
from pipespan.store.maintenance import (
    DEFAULT_ROWS_COUNTED,
    DeadRows,
    IndexUse,
    Inspection,
    Partitions,
    QueryTime,
    RetentionState,
    TableSize,
)
from pipespan.store.postgres import migrate
from pipespan.store.postgres.connect import Scope, Timeouts
from pipespan.store.postgres.maintain import RETENTION, Session, rules_in_force
from pipespan.store.postgres.maintain_plan import parts_of

QUERY_TIMEOUT: Final = Timeouts(statement_s=5)
"""A query that takes longer is too slow, however long it would go on."""

_LIMIT: Final = 100


def inspect(session: Session, default: Retention | None) -> Inspection:
    """Return what is found; without a schema that fits, only that."""
    database, server, now = session.rows("maintenance_identity")[0]
    applied = migrate.applied_migrations(session.connection, session.sql, session.scope.schema)
    found = Inspection(
        database=database,
        server_version=server,
        now=now,
        schema_version=max((record.version for record in applied), default=0),
        newest_version=max((file.version for file in session.sql.migrations()), default=0),
        schema_trouble=_schema_trouble(session),
    )
    if found.schema_trouble is not None:
        return found
    sizes = [TableSize(*row) for row in session.rows("maintenance_sizes")]
    tables = {"tables": [size.name for size in sizes]}
    return Inspection(
        database=database,
        server_version=server,
        now=now,
        schema_version=found.schema_version,
        newest_version=found.newest_version,
        sizes=sizes,
        partitions=list(_partitions(session)),
        dead=[DeadRows(*row) for row in session.rows("maintenance_dead", tables)],
        queries=list(_timed_queries(session)),
        indexes=[IndexUse(*row) for row in session.rows("maintenance_indexes", tables)],
        retention=_retention(session, default, now),
    )


def _schema_trouble(session: Session) -> str | None:
    try:
        migrate.check(session.connection, session.sql, session.scope.schema)
    except SchemaError as error:
        return str(error)
    return None


def _partitions(session: Session) -> Iterator[Partitions]:
    counts = dict(session.rows("maintenance_default_rows", {"limit": DEFAULT_ROWS_COUNTED}))
    parts = [part for part in parts_of(session) if not part.is_default]
    for table in sorted(counts):
        starts = [part.starts_at for part in parts if part.table == table and part.starts_at is not None]
        ends = [part.ends_at for part in parts if part.table == table and part.ends_at is not None]
        count = sum(part.table == table for part in parts)
        yield Partitions(table, count, min(starts, default=None), max(ends, default=None), int(counts[table]))


_ANY: Final = dict.fromkeys(
    ("level", "search", "node_id", "since", "until", "after_id", "event_type", "severities"), None
)
"""Parameters of the reading queries that choose among rows; none of them chosen."""


def _timed_queries(session: Session) -> Iterator[QueryTime]:
    """Run what the reading commands run, on the newest experiment."""
    bounded = Session(session.connection, session.sql, Scope(QUERY_TIMEOUT, session.scope.schema))
    newest = bounded.rows("experiments", {"limit": 1})
    of_one: dict[str, Any] = {"experiment_id": newest[0][0] if newest else None, "limit": _LIMIT, **_ANY}
    yield _timed(bounded, "experiments", {"limit": 20})
    if not newest:
        return
    yield _timed(bounded, "nodes", of_one)
    yield _timed(bounded, "logs", of_one)
    yield _timed(bounded, "logs", {**of_one, "search": "no such text"}, name="log search")
    yield _timed(bounded, "error_groups", of_one)
    yield _timed(bounded, "events", of_one)
    yield _timed(bounded, "metrics", of_one)


def _timed(session: Session, query: str, values: Mapping[str, Any], *, name: str | None = None) -> QueryTime:
    started_s = time.perf_counter()
    try:
        session.rows(query, values)
    except psycopg.errors.QueryCanceled:
        return QueryTime(name or query, None)
    return QueryTime(name or query, time.perf_counter() - started_s)


def _retention(session: Session, default: Retention | None, now: datetime) -> RetentionState:
    stored = session.setting(RETENTION)
    rules = rules_in_force(session, default)

    def before(days: int | None) -> datetime | None:
        return None if days is None else now - timedelta(days=days)

    overdue, oldest, pinned, done_at = session.rows(
        "maintenance_overdue",
        {
            "mild_before": None if rules is None else before(rules.mild_days),
            "rest_before": None if rules is None else before(rules.rest_days),
        },
    )[0]
    return RetentionState(
        rules=rules,
        is_default=stored is None and rules is not None,
        is_set=stored is not None,
        last_run_at=done_at,
        overdue=overdue,
        oldest_overdue_at=oldest,
        pinned=pinned,
    )
