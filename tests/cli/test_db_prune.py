from __future__ import annotations

import psycopg
import pytest

from tests.cli.database import MAX_COLUMNS, Database
from tests.fixtures.postgres import Connection
from tests.store.aged import (
    DAY,
    add_experiment,
    add_log,
    add_logs,
    add_node,
    at_day,
    kept,
    make_days,
    utc_now,
)


@pytest.fixture
def aged(conn: Connection) -> dict[str, str]:
    """Three runs of 200, 100 and 0 days, the middle one with errors; ids by name."""
    make_days(conn, [0, 100, 200], ["pipeline_logs"])
    ids = {}
    for name, days in (("old", 200), ("middle", 100), ("new", 0)):
        moment = utc_now() - days * DAY
        ids[name] = add_experiment(conn, name, started_at=moment, ended_at=moment)
        add_logs(conn, ids[name], at_day(days), 20)
        add_log(conn, ids[name], at_day(days), f"error of {name}", "ERROR")
        add_node(conn, ids[name])
    return ids


def test_prune_by_the_rules_that_are_set(db: Database, conn: Connection, aged: dict[str, str]) -> None:
    """Old experiments go whole, errors of the middle one stay; the report is told in few lines."""
    assert db("db", "migrate", "--retention", "on").out.endswith(
        "retention: logs below ERROR 30 days, everything 180 days, at most 10 GB in all\n"
    )
    said = db("db", "prune")
    assert (said.code, said.err) == (0, "")
    assert "1 experiment went as a whole:" in said.out
    assert aged["old"][:8] in said.out
    assert max(map(len, said.out.splitlines())) <= MAX_COLUMNS
    left = kept(conn)
    assert left.experiments == {aged["middle"], aged["new"]}
    assert [one for one in left.logs if one.startswith("error")] == ["error of middle", "error of new"]
    assert len(left.logs) == 22


def test_prune_needs_a_rule(db: Database, conn: Connection, aged: dict[str, str]) -> None:
    """Where none is set and none is given, nothing goes, and it says what to type."""
    said = db("db", "prune")
    assert (said.code, said.out) == (2, "")
    assert "--older-than" in said.err
    assert len(kept(conn).logs) == 63


def test_a_dry_run_changes_nothing(db: Database, conn: Connection, aged: dict[str, str]) -> None:
    """It tells what would go, also for scripts."""
    everything = kept(conn)
    said = db("db", "prune", "--older-than", "30d", "--dry-run")
    assert said.code == 0
    assert "2 experiments would go as a whole:" in said.out
    document = db("db", "prune", "--older-than", "30d", "--dry-run", "--json").document
    assert {one["id"] for one in document["experiments"]} == {aged["old"], aged["middle"]}
    assert sum(one["rows"] for one in document["partitions"]) == 42
    assert kept(conn) == everything


def test_pinned_experiments_stay_whole(db: Database, conn: Connection, aged: dict[str, str]) -> None:
    """By name or id; unpinned ones go again."""
    said = db("pin", "old")
    assert (said.code, said.out) == (0, f"pinned: old ({aged['old'][:8]})\n")
    assert db("db", "prune", "--older-than", "1d", "--keep-runs", "0").code == 0
    left = kept(conn)
    assert left.experiments == {aged["old"]}
    assert len(left.logs) == 21
    assert db("unpin", aged["old"][:8], "--json").document["pinned"] is False
    assert db("db", "prune", "--older-than", "1d").code == 0
    assert kept(conn).logs == []


def test_keep_runs_counts_the_runs_of_each_pipeline(db: Database, conn: Connection) -> None:
    """The newest of each name stay, and what may still run."""
    ids = [
        add_experiment(conn, name, started_at=utc_now() - days * DAY, status=status)
        for name, days, status in (
            ("a", 1, "completed"), ("a", 2, "failed"), ("a", 3, "completed"), ("b", 9, "completed"),
            ("a", 0.5, "running"), ("a", 30, "running"),
        )
    ]  # fmt: skip
    conn.execute("update experiments set ended_at = null")
    assert db("db", "prune", "--keep-runs", "2").code == 0
    assert kept(conn).experiments == {ids[0], ids[3], ids[4]}


def test_keep_gb_says_when_it_cannot_be_reached(db: Database, aged: dict[str, str]) -> None:
    """Today's rows stay whatever the limit is."""
    said = db("db", "prune", "--keep-gb", "0.0001")
    assert said.code == 0
    assert "more than 100 kB is left" in said.err


@pytest.mark.parametrize(
    "args",
    [
        ("db", "prune", "--older-than", "soon"),
        ("db", "prune", "--older-than", "-3d"),
        ("db", "prune", "--older-than", "30"),
        ("db", "prune", "--keep-runs", "-1"),
        ("db", "prune", "--keep-gb", "-1"),
        ("db", "migrate", "--retention", "for ever"),
        ("db", "migrate", "--retention", "logs=12h"),
        ("db", "migrate", "--retention", "logs=3d,logs=4d"),
        ("db", "migrate", "--retention", "size=-1GB"),
        ("db", "queries", "nonsense"),
        ("db", "sample", "\x1b[31m"),
        ("db", "sample", "  "),
        ("db", "recreate"),
        ("pin", "nobody"),
    ],
)
def test_what_cannot_be_meant_is_refused(db: Database, conn: Connection, args: tuple[str, ...]) -> None:
    """One clear line and exit status 2, and nothing has changed."""
    stays = add_experiment(conn)
    said = db(*args)
    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err
    assert kept(conn).experiments == {stays}
    assert conn.execute("select count(*) from pipespan_settings where name ~ 'retention'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("off", "retention: off, nothing is removed by itself"),
        ("logs=14d", "retention: logs below ERROR 14 days"),
        (
            "logs=2w, rest=1y ,size=0.5TB",
            "retention: logs below ERROR 14 days, everything 365 days, at most 500 GB in all",
        ),
    ],
)
def test_retention_is_set_with_the_schema(bare_db: Database, words: str, line: str) -> None:
    """Together with the tables, or later by itself."""
    assert bare_db("db", "migrate", "--retention", words).out.splitlines()[-1] == line
    assert bare_db("db", "migrate", "--retention", words).out.splitlines() == [
        "the schema is up to date",
        line,
    ]


def test_missing_rights_are_told_in_a_line(db: Database, conn: Connection, aged: dict[str, str]) -> None:
    """Who may only read cannot remove."""
    role = f"role_{utc_now():%H%M%S%f}"
    conn.execute(f"create role {role} login".encode())
    conn.execute(f"grant select on all tables in schema public to {role}".encode())
    try:
        reader = psycopg.conninfo.make_conninfo(db.dsn, user=role)
        for args in (("db", "prune", "--older-than", "1d"), ("pin", "old")):
            said = db(*args, dsn=reader)
            assert (said.code, said.out) == (1, "")
            assert said.err.count("\n") == 1
            assert "permission denied" in said.err
            assert "grant" in said.err
    finally:
        conn.execute(f"drop owned by {role}".encode())
        conn.execute(f"drop role {role}".encode())
    assert len(kept(conn).logs) == 63
