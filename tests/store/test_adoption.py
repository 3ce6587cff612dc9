"""Tables of an existing database: taken over with all that they hold, or refused before anything is changed."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from pipespan.errors import SchemaError
from pipespan.store.base import LogFilter
from pipespan.store.postgres.migrate import migrate, waiting
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, node
from tests.store.test_migrate import tables

THEIRS = "99999999-0000-4000-8000-000000000000"


def admin(dsn: str) -> Connection:
    return psycopg.connect(dsn, autocommit=True)


def test_rows_and_foreign_keys_of_others_stay(empty_dsn: str) -> None:
    """Tables that refer to theirs go on doing so, and their rows are untouched."""
    with closing(admin(empty_dsn)) as connection:
        connection.execute(
            f"create table experiments (id uuid primary key default gen_random_uuid(), name varchar(80), owner text);"
            f"create table processing_jobs (id uuid primary key, experiment_id uuid references experiments, note text);"
            f"create table bills (id int primary key, experiment_id uuid not null references experiments);"
            f"create view names as select id, name from experiments;"
            f"insert into experiments values ('{THEIRS}', 'theirs', 'bob');"
            f"insert into processing_jobs values ('{THEIRS}', '{THEIRS}', 'mine');"
            f"insert into bills values (1, '{THEIRS}')"
        )
        migrate(empty_dsn)
        sink = PostgresSink(empty_dsn)
        Shipper(sink).ship(experiment(), job("88888888-0000-4000-8000-000000000000"), node("p"))
        sink.close()
        assert connection.execute(
            "select count(*) from bills join names on names.id = experiment_id"
        ).fetchone() == (1,)
        assert connection.execute(f"select owner from experiments where id = '{THEIRS}'").fetchone() == (
            "bob",
        )
        assert connection.execute(f"select note from processing_jobs where id = '{THEIRS}'").fetchone() == (
            "mine",
        )
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(f"delete from experiments where id = '{THEIRS}'")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("create table experiments (id bigint primary key)", "experiments.id is of type bigint, not uuid"),
        ("create table processing_jobs (id serial primary key)", "processing_jobs.id is of type integer"),
        ("create table experiments (number int)", "experiments has no column id"),
        ("create table experiments (id uuid)", "experiments.id is neither primary key nor unique"),
        (
            "create table experiments (id uuid primary key, params text)",
            "experiments.params is of type text, not jsonb",
        ),
        (
            "create table experiments (id uuid primary key, started_at timestamp)",
            "started_at is of type timestamp without",
        ),
        (
            "create table experiments (id uuid primary key, owner text not null)",
            "experiments.owner takes no null",
        ),
        ("create view experiments as select 1 as id", "experiments.id is of type integer"),
    ],
)
def test_tables_that_do_not_fit_are_refused(empty_dsn: str, made: str, reason: str) -> None:
    """Before anything is changed, in one line with the remedy; a schema of its own is one."""
    with closing(admin(empty_dsn)) as connection:
        connection.execute(made.encode())
    before = tables(empty_dsn)
    for attempt in (migrate, waiting):
        with pytest.raises(SchemaError, match="PIPESPAN_SCHEMA") as caught:
            attempt(empty_dsn)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tables(empty_dsn) == before
    migrate(empty_dsn, schema="pipespan")
    assert tables(empty_dsn) == before


@pytest.mark.parametrize("schema", ["monitoring", 'Odd "Name"; --'])
def test_a_schema_of_its_own(empty_dsn: str, schema: str) -> None:
    """It is made, all lives there, and statements of others reach the trigger without any search path."""
    names = migrate(empty_dsn, schema=schema)
    assert migrate(empty_dsn, schema=schema) == waiting(empty_dsn, schema=schema) == []
    assert waiting(empty_dsn) == names
    assert tables(empty_dsn) == set()
    sink, source = PostgresSink(empty_dsn, schema=schema), PostgresSource(empty_dsn, schema=schema)
    shipper = Shipper(sink)
    shipper.ship(experiment(), node("p"), node("p/a", "p", completed_units=1, total_units=2), log())
    shipper.ship(node("p/a", "p", completed_units=2, total_units=2, version=2))
    assert {found.progress_percent for found in source.nodes(EXPERIMENT_ID)} == {100.0}
    assert len(source.logs(EXPERIMENT_ID, LogFilter())) == 1
    with closing(admin(empty_dsn)) as connection:
        table = psycopg.sql.Identifier(schema, "pipeline_progress")
        connection.execute(
            psycopg.sql.SQL("update {} set completed_units = 1 where node_id = 'p/a'").format(table)
        )
    assert {found.progress_percent for found in source.nodes(EXPERIMENT_ID)} == {50.0}
    sink.close()
    source.close()
