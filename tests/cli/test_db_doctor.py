from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from pipespan.model.retention import DEFAULT_RETENTION
from pipespan.query.doctor import Finding, diagnose, is_healthy
from pipespan.store.maintenance import (
    DeadRows,
    IndexUse,
    Inspection,
    Partitions,
    QueryTime,
    RetentionState,
    TableSize,
)
from tests.cli.database import MAX_COLUMNS, Database
from tests.fixtures.postgres import Connection
from tests.store.aged import DAY, add_experiment, add_log, add_logs, at_day, make_days, utc_now

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
WELL = Inspection(
    database="runs",
    server_version="15.6 (Debian 15.6-1)",
    now=NOW,
    schema_version=6,
    newest_version=6,
    sizes=[TableSize("pipeline_logs", 5, 2_000_000, 2_000_000)],
    partitions=[Partitions("pipeline_logs", 9, NOW - 8 * DAY, NOW + DAY, 0)],
    dead=[DeadRows("experiments", 10, 3, None)],
    queries=[QueryTime("logs", 0.02)],
    indexes=[IndexUse("a", "experiments", 3, 8192, is_valid=True)],
    retention=RetentionState(DEFAULT_RETENTION, is_default=True),
)


def found_in(inspection: Inspection) -> list[Finding]:
    return [one for one in diagnose(inspection) if one.level != "ok"]


def test_a_database_that_is_well() -> None:
    """Each thing that was looked at is told, and nothing needs mending."""
    subjects = [one.subject for one in diagnose(WELL)]
    assert subjects == ["schema", "partitions", "dead rows", "queries", "indexes", "retention"]
    assert found_in(WELL) == []
    assert is_healthy(diagnose(WELL))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_trouble": "2 migrations are missing; run x"}, "migrations are missing"),
        ({"partitions": [replace(WELL.partitions[0], default_rows=7)]}, "7 rows of pipeline_logs"),
        ({"partitions": [replace(WELL.partitions[0], default_rows=10_001)]}, "more than 10,000 rows"),
        ({"dead": [DeadRows("pipeline_progress", 50_000, 90_000, None)]}, "vacuum pipeline_progress"),
        ({"queries": [QueryTime("logs", 2.5)]}, "took 2.5 s"),
        ({"queries": [QueryTime("logs", None)]}, "was cut off"),
        ({"indexes": [IndexUse("a", "t", 0, 1, is_valid=False)]}, "reindex index a"),
        (
            {"retention": RetentionState(DEFAULT_RETENTION, overdue=3, oldest_overdue_at=NOW - 5 * DAY)},
            "3 partitions should have gone, the first 5 days ago",
        ),
        (
            {"sizes": [TableSize("pipeline_logs", 5, 2 * 10**10, 2 * 10**10)]},
            "20.00 GB are kept, 10 GB are set",
        ),
    ],
)
def test_what_needs_mending(changes: dict[str, Any], words: str) -> None:
    """One finding says what it is, and how to mend it."""
    findings = diagnose(replace(WELL, **changes))
    assert not is_healthy(findings)
    assert [words in one.text for one in findings if one.level == "problem"] == [True]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"retention": RetentionState()}, "unset"),
        ({"retention": RetentionState(is_set=True)}, "off"),
        ({"partitions": [Partitions("pipeline_logs", 1, NOW - 9 * DAY, NOW - DAY, 0)]}, "none for today"),
        ({"retention": RetentionState(DEFAULT_RETENTION, overdue=1, oldest_overdue_at=NOW - DAY)}, None),
    ],
)
def test_what_is_only_worth_a_note(changes: dict[str, Any], words: str | None) -> None:
    """It is told, and the exit status stays 0."""
    findings = found_in(replace(WELL, **changes))
    assert is_healthy(findings)
    assert [one.level for one in findings] == ([] if words is None else ["note"])
    assert words is None or words in findings[0].text


def test_doctor_of_a_fresh_database(db: Database) -> None:
    """Healthy, and it says that retention is unset; no line is wider than the terminal."""
    said = db("db", "doctor")
    assert (said.code, said.err) == (0, "")
    assert "retention: unset" in said.out
    assert "pipeline_logs" in said.out
    assert max(map(len, said.out.splitlines())) <= MAX_COLUMNS


def wait_until_alone(conn: Connection) -> None:
    """Wait until no session is left but this: each adds what it has written to the statistics when it ends."""
    others = (
        "select from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    while conn.execute(others).rowcount:
        time.sleep(0.01)


def test_doctor_measures_queries_and_counts_what_is_there(db: Database, conn: Connection) -> None:
    """With `--json` all of it is there for a script."""
    assert db("db", "sample", "train").code == 0
    wait_until_alone(conn)
    conn.execute("analyze")
    document = db("db", "doctor", "--json").document
    assert document["healthy"] is True
    inspection = document["inspection"]
    assert {one["name"] for one in inspection["queries"]} >= {"experiments", "nodes", "logs", "log search"}
    assert all(one["seconds"] < 5 for one in inspection["queries"])
    sizes = {one["name"]: one for one in inspection["sizes"]}
    assert sizes["pipeline_progress"]["rows"] == 17
    assert {one["table"] for one in inspection["partitions"]} == {
        "pipeline_logs", "pipeline_events", "pipeline_metrics",
    }  # fmt: skip
    assert all(one["is_valid"] for one in inspection["indexes"])
    assert any(one["name"] == "pipeline_logs__errors" for one in inspection["indexes"])


def test_rows_in_a_default_partition_are_an_alarm(db: Database, conn: Connection) -> None:
    """A clock that is far off, or partitions that could not be made, show at once."""
    add_log(conn, add_experiment(conn), utc_now() + timedelta(days=2000))
    said = db("db", "doctor")
    assert said.code == 1
    assert "1 rows of pipeline_logs are in its default partition" in " ".join(said.out.split())


def test_retention_that_is_late_is_an_alarm(db: Database, conn: Connection) -> None:
    """Rules are set and nobody applies them; after pruning all is well again."""
    make_days(conn, [60], ["pipeline_logs"])
    owner = add_experiment(conn)
    add_logs(conn, owner, at_day(60), 10)
    add_log(conn, owner, at_day(60), "stays", "ERROR")
    assert db("db", "migrate", "--retention", "on").code == 0
    said = db("db", "doctor")
    assert said.code == 1
    assert "1 partitions should have gone, the first 29 days ago" in " ".join(said.out.split())
    assert db("db", "prune").code == 0
    assert db("db", "doctor").code == 0


def test_an_invalid_index_is_found(db: Database, conn: Connection) -> None:
    """As one is left behind by `create index concurrently` that failed."""
    conn.execute("update pg_index set indisvalid = false where indexrelid = 'experiments__name'::regclass")
    said = db("db", "doctor")
    assert said.code == 1
    assert "reindex index experiments__name" in " ".join(said.out.split())


def test_doctor_without_a_schema_names_the_command(bare_db: Database) -> None:
    """It does not fail over what is missing."""
    said = bare_db("db", "doctor")
    assert said.code == 1
    assert "pipespan db migrate" in said.out
    assert bare_db("db", "doctor", "--json").document["healthy"] is False


def test_doctor_without_rights_says_which(db: Database, conn: Connection) -> None:
    """One line, no traceback."""
    role = f"role_{utc_now():%H%M%S%f}"
    conn.execute(f"create role {role} login".encode())
    try:
        said = db("db", "doctor", dsn=psycopg.conninfo.make_conninfo(db.dsn, user=role))
    finally:
        conn.execute(f"drop role {role}".encode())
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "permission denied" in said.err
