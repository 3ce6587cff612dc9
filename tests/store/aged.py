"""A database with a past: partitions of old days, experiments and rows of any age."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.fixtures.postgres import Connection

TABLES = ("pipeline_logs", "pipeline_events", "pipeline_metrics")
DAY = timedelta(days=1)


def start_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def make_days(conn: Connection, days_ago: Iterable[int], tables: Iterable[str] = TABLES) -> None:
    """Make the partitions of days in the past, as a writer made them when these days were to come."""
    today = start_of_day(utc_now())
    for table in tables:
        for ago in days_ago:
            start = today - ago * DAY
            name = f"{table}_p{start:%Y%m%d}"
            conn.execute(
                f"create table if not exists {name} (like {table} including defaults including constraints including generated)"
            )
            is_there = conn.execute(
                "select relispartition from pg_class where oid = %s::regclass", (name,)
            ).fetchone()
            if is_there == (False,):
                conn.execute(
                    f"alter table {table} attach partition {name} for values from ('{start.isoformat()}')"
                    f" to ('{(start + DAY).isoformat()}')"
                )


def at_day(days_ago: int, hour: float = 12) -> datetime:
    return start_of_day(utc_now()) - days_ago * DAY + timedelta(hours=hour)


def add_experiment(conn: Connection, name: str = "train", **changes: Any) -> str:
    """Add an experiment that ended; `started_at` and `ended_at` say when."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()), "name": name, "status": "completed", "attempt": 1, "version": 1,
        "started_at": utc_now(), "ended_at": utc_now(), "pinned": False,
    } | changes  # fmt: skip
    names = ", ".join(values)
    marks = ", ".join(f"%({one})s" for one in values)
    conn.execute(f"insert into experiments ({names}) values ({marks})".encode(), values)
    return str(values["id"])


def add_log(
    conn: Connection, experiment_id: str, at: datetime, message: str = "m", level: str = "INFO"
) -> None:
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message)"
        " values (%s, %s, %s, 9, 'x', %s)",
        (experiment_id, at, level, message),
    )


def add_logs(conn: Connection, experiment_id: str, at: datetime, count: int, level: str = "INFO") -> None:
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message)"
        " select %s, %s, %s, 9, 'x', repeat('m', 400) || i from generate_series(1, %s) as i",
        (experiment_id, at, level, count),
    )


def add_event(conn: Connection, experiment_id: str, at: datetime, title: str) -> None:
    conn.execute(
        "insert into pipeline_events (experiment_id, timestamp, event_type, source, severity, title)"
        " values (%s, %s, 'note', 'x', 'INFO', %s)",
        (experiment_id, at, title),
    )


def add_metric(conn: Connection, experiment_id: str, at: datetime, tag: str) -> None:
    conn.execute(
        "insert into pipeline_metrics (experiment_id, timestamp, custom_metrics)"
        " values (%s, %s, jsonb_build_object('tag', %s::text))",
        (experiment_id, at, tag),
    )


def add_node(
    conn: Connection, experiment_id: str, node_id: str = "train", parent_id: str | None = None
) -> None:
    conn.execute(
        "insert into pipeline_progress (experiment_id, node_id, parent_id, node_level, node_name, status)"
        " values (%s, %s, %s, 'step', %s, 'completed')",
        (experiment_id, node_id, parent_id, node_id),
    )


@dataclass(frozen=True)
class Kept:
    """What is in the database, by the tags that rows were given."""

    logs: list[str]
    events: list[str]
    metrics: list[str]
    experiments: set[str]
    nodes: int


def kept(conn: Connection) -> Kept:
    def column(query: str) -> list[Any]:
        return [row[0] for row in conn.execute(query.encode())]

    return Kept(
        logs=sorted(column("select message from pipeline_logs")),
        events=sorted(column("select title from pipeline_events")),
        metrics=sorted(column("select custom_metrics ->> 'tag' from pipeline_metrics")),
        experiments=set(column("select id::text from experiments")),
        nodes=column("select count(*) from pipeline_progress")[0],
    )


def partitions(conn: Connection, table: str = "pipeline_logs") -> dict[str, int]:
    """Return the rows of each partition of a table, without the default one."""
    names = conn.execute(
        "select partition from pipespan_partition_sizes_v1() where parent = %s and not is_default order by 1",
        (table,),
    ).fetchall()
    counts = {}
    for (name,) in names:
        (counts[name],) = conn.execute(f"select count(*) from {name}".encode()).fetchall()[0]
    return counts
