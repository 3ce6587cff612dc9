"""Commands that make or show content: sample, queries, recreate."""

from __future__ import annotations

import json

import psycopg
import pytest

from pipespan.store.postgres.migrate import migrate
from pipespan.store.sqlfiles import open_sql
from tests.cli.database import Database
from tests.fixtures.postgres import Connection
from tests.store.aged import add_experiment, kept, utc_now

USEFUL = open_sql().useful()


def test_a_sample_is_an_experiment_like_others(db: Database) -> None:
    """Tree, logs, tracebacks, events and metrics are there for all commands that read."""
    said = db("db", "sample", "nightly/train")
    assert said.code == 0
    status = db("status", "nightly/train")
    assert status.code == 0
    assert "epoch 5" in status.out
    errors = db("errors", "nightly/train", "--traceback").out
    assert "MailError" in errors
    assert "The above exception was the direct cause" in errors
    assert "column 'wind' is empty" in db("logs", "nightly/train", "--level", "WARNING").out


def test_each_sample_is_one_more(db: Database, conn: Connection) -> None:
    """Samples are told apart by id and from real runs by their tag; all tables have rows of them."""
    first, second = (db("db", "sample", "train", "--json").document for _ in range(2))
    assert first["experiment_id"] != second["experiment_id"]
    for table in (
        "pipeline_progress",
        "pipeline_logs",
        "pipeline_events",
        "pipeline_metrics",
        "processing_jobs",
    ):
        counts = conn.execute(f"select count(*) from {table} group by experiment_id".encode()).fetchall()
        assert len(counts) == 2
    assert conn.execute("select distinct tags from experiments").fetchall() == [(["sample"],)]
    row = conn.execute(
        "select count(*), min(progress_percent) from pipeline_progress where node_level = 'phase'"
    )
    assert row.fetchone() == (8, 100)


@pytest.mark.parametrize("name", USEFUL)
def test_each_useful_query_runs(db: Database, conn: Connection, name: str) -> None:
    """On an empty database, and on one with a sample, where it has something to say."""
    conn.execute(USEFUL[name].encode())
    db("db", "sample", "train")
    rows = conn.execute(USEFUL[name].encode()).fetchall()
    assert rows or name == "running"


def test_queries_are_printed_ready_to_run(db: Database, conn: Connection) -> None:
    """All of them as one script, one by name, and one object a line for scripts."""
    conn.execute(db("db", "queries").out.encode())
    assert db("db", "queries", "sizes").out.startswith("-- sizes: ")
    documents = [json.loads(line) for line in db("db", "queries", "--json").out.splitlines()]
    assert [one["name"] for one in documents] == list(USEFUL)
    assert all(one["about"] and one["sql"].startswith("select") for one in documents)


def test_queries_need_no_database(db: Database) -> None:
    """They are text: to read them nothing has to run."""
    said = db("db", "queries", dsn="postgresql://nobody@127.0.0.1:1/none")
    assert said.code == 0


def test_recreate_asks_for_the_name(db: Database, conn: Connection) -> None:
    """Another answer, or none, changes nothing; the right one begins anew."""
    stays = add_experiment(conn)
    for typed in ("", "yes\n", "postgres\n"):
        said = db("db", "recreate", "--force", typed=typed)
        assert (said.code, said.out) == (2, "")
        assert "nothing was changed" in said.err
    assert kept(conn).experiments == {stays}
    name = psycopg.conninfo.conninfo_to_dict(db.dsn)["dbname"]
    said = db("db", "recreate", "--force", typed=f"{name}\n")
    assert said.code == 0
    assert f"{len(open_sql().migrations())} migrations applied" in said.out
    assert kept(conn).experiments == set()
    assert migrate(db.dsn) == []


def test_recreate_leaves_what_is_not_ours(db: Database, conn: Connection) -> None:
    """Tables and functions of others in the same schema stay; objects of ours are as if made for the first time.

    The days of partitions are left out: the database of the test may have been made before midnight.
    """
    conn.execute("create table pipeline_of_mine (x int)")
    conn.execute("create function mine() returns int language sql as 'select 1'")
    shape = (
        (
            "select regexp_replace(relname, '_p[0-9]{8}', '_p'), relkind from pg_class"
            " where relnamespace = 'public'::regnamespace order by 1, 2"
        ),
        "select oid::regprocedure::text, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1",
        (
            "select regexp_replace(tgrelid::regclass::text, '_p[0-9]{8}', '_p'), tgname from pg_trigger"
            " where not tgisinternal order by 1, 2"
        ),
    )
    before = [conn.execute(one.encode()).fetchall() for one in shape]
    db("db", "sample", "train")
    document = db("db", "recreate", "--force", "--yes", "--json").document
    assert document["applied"] == [file.name for file in open_sql().migrations()]
    assert [conn.execute(one.encode()).fetchall() for one in shape] == before
    assert kept(conn).experiments == set()


def test_recreate_repairs_a_schema_of_another_making(db: Database, conn: Connection) -> None:
    """Where migrating refuses, this is the way out."""
    conn.execute("update pipespan_migrations set checksum = 'x' where version = 1")
    conn.execute("drop function pipespan_is_adopted_v1")
    assert db("db", "migrate").code == 1
    assert db("db", "recreate", "--force", "--yes").code == 0
    assert db("db", "migrate").out == "the schema is up to date\n"


def test_recreate_without_rights_changes_nothing(db: Database, conn: Connection) -> None:
    """All or nothing, told in a line."""
    role = f"role_{utc_now():%H%M%S%f}"
    conn.execute(f"create role {role} login".encode())
    conn.execute(f"grant all on all tables in schema public to {role}".encode())
    stays = add_experiment(conn)
    try:
        said = db("db", "recreate", "--force", "--yes", dsn=psycopg.conninfo.make_conninfo(db.dsn, user=role))
    finally:
        conn.execute(f"drop owned by {role}".encode())
        conn.execute(f"drop role {role}".encode())
    assert said.code == 1
    assert "must be owner" in said.err
    assert kept(conn).experiments == {stays}
