"""The roles for writers and readers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import conninfo, errors

from pipespan.store.postgres.migrate import make_roles
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, metric, node


@pytest.fixture
def logins(dsn: str, conn: Connection) -> Iterator[dict[str, str]]:
    """Return the DSN of a login with each role; roles belong to the whole server, so names are the test's own."""
    names = {role: f"{role}_{uuid.uuid4().hex}" for role in ("pipespan_writer", "pipespan_reader")}
    with closing(psycopg.connect(dsn, autocommit=True)) as admin:
        admin.execute("select pg_advisory_lock(hashtext('pipespan test roles'))")
        conn.execute("create view some_view as select id, message from pipeline_logs")
        conn.execute(
            "create function get_some(p_id uuid) returns bigint language sql stable"
            " as 'select count(*) from pipeline_progress where experiment_id = p_id'"
        )
        make_roles(dsn)
        make_roles(dsn)
        for role, name in names.items():
            conn.execute(f"create role {name} login in role {role}")
        yield {role: conninfo.make_conninfo(dsn, user=name) for role, name in names.items()}
        for name in (*names.values(), *names):
            conn.execute(f"drop owned by {name}")
        for name in names.values():
            conn.execute(f"drop role {name}")


def test_the_writer_writes(logins: dict[str, str], conn: Connection) -> None:
    """All kinds of rows, the trigger's sums, and partitions ahead."""
    (name,) = conn.execute("select max(partition) from pipespan_partitions_v1()").fetchone() or ("",)
    conn.execute(f"drop table {name}")
    sink = PostgresSink(logins["pipespan_writer"])
    shipper = Shipper(sink)
    shipper.ship(
        experiment(), job(str(uuid.uuid4())), node("p"), node("p/a", "p", status="completed"), metric()
    )
    shipper.ship(log(level="ERROR"), node("p/a", "p", status="completed", version=2))
    sink.close()
    assert conn.execute("select progress_percent from pipeline_progress").fetchall() == [(100,), (100,)]
    assert conn.execute("select to_regclass(%s) is not null", (name,)).fetchone() == (True,)
    with closing(psycopg.connect(logins["pipespan_writer"], autocommit=True)) as own:
        for statement in (
            "drop table pipeline_logs",
            "delete from experiments",
            "truncate pipeline_progress",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                own.execute(statement.encode())


def test_the_reader_reads_views_and_functions_only(
    logins: dict[str, str], dsn: str, conn: Connection
) -> None:
    """No table answers, partitions included; views and functions do; nothing can be changed."""
    sink = PostgresSink(dsn)
    Shipper(sink).ship(experiment(), node("p"), log())
    sink.close()
    tables = conn.execute(
        "select oid::regclass::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    ).fetchall()
    assert len(tables) > 8
    with closing(psycopg.connect(logins["pipespan_reader"], autocommit=True)) as own:
        for (table,) in tables:
            with pytest.raises(errors.InsufficientPrivilege):
                own.execute(f"select from {table}".encode())
        assert own.execute("select message from some_view").fetchall() == [("hello",)]
        assert own.execute("select get_some(%s)", (EXPERIMENT_ID,)).fetchone() == (1,)
        for statement in (
            "insert into some_view values (1, 'x')",
            "select pipespan_recount_v1()",
            "select pipespan_ensure_partitions_v1(1)",
            "select pipespan_move_default_rows_v1()",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                own.execute(statement.encode())
