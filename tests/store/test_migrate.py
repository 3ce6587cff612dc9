"""The schema: from zero, twice, at once by many, and refused when it is not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pipespan.cli.app import main
from pipespan.errors import SchemaError, StoreUnavailableError
from pipespan.store import migrations
from pipespan.store.base import LogFilter
from pipespan.store.migrations import AppliedMigration
from pipespan.store.postgres import migrate as migrating
from pipespan.store.postgres.connect import open_connection
from pipespan.store.postgres.migrate import applied_migrations, migrate
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from pipespan.store.sqlfiles import MigrationFile, SqlFiles, open_sql
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, event, experiment, job, log, metric, node
from tests.store.releases import other_release

TABLES = {
    "experiments",
    "processing_jobs",
    "pipeline_progress",
    "pipeline_logs",
    "pipeline_events",
    "pipeline_metrics",
    "pipespan_streams",
    "pipespan_days",
    "pipespan_migrations",
    "pipespan_settings",
    "pipespan_thinned",
    "pipespan_requests",
    "pipespan_spans",
}


def tables(dsn: str) -> set[str]:
    with closing(psycopg.connect(dsn)) as connection:
        rows = connection.execute(
            "select relname from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
            " and not relispartition"
        )
        return {name for (name,) in rows}


def test_from_zero_and_again(empty_dsn: str) -> None:
    """The first run makes all tables, the second has nothing to do."""
    names = [file.name for file in open_sql().migrations()]
    assert migrate(empty_dsn) == names
    assert tables(empty_dsn) == TABLES
    assert migrate(empty_dsn) == []
    with open_connection(empty_dsn) as connection:
        migrating.check(connection)
        assert [record.name for record in applied_migrations(connection, open_sql())] == names


def test_processes_at_once_apply_each_file_once(empty_dsn: str) -> None:
    """The command, started four times at the same moment, applies each file once and fails never."""
    command = [sys.executable, "-m", "pipespan", "db", "migrate", "--json", "--dsn", empty_dsn]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    said = [process.communicate(timeout=50) for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    applied = sorted(name for output, _ in said for name in json.loads(output)["applied"])
    assert applied == [file.name for file in open_sql().migrations()]


def test_many_at_once_apply_each_file_once(empty_dsn: str) -> None:
    """Processes that migrate at the same moment wait for each other."""
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(migrate, [empty_dsn] * 4))
    assert sorted(name for names in done for name in names) == [file.name for file in open_sql().migrations()]


def test_a_missing_schema_names_the_command(empty_dsn: str) -> None:
    """The check changes nothing and says what to run."""
    with (
        open_connection(empty_dsn) as connection,
        pytest.raises(SchemaError, match="run `pipespan db migrate`"),
    ):
        migrating.check(connection)
    assert tables(empty_dsn) == set()


def test_a_changed_file_is_refused(dsn: str) -> None:
    """A migration that was edited after it was applied stops everything, and names itself."""
    first, *others = open_sql().migrations()
    edited = other_release(replace(first, content=first.content + b"-- more"), *others)
    with pytest.raises(SchemaError, match=first.name):
        migrate(dsn, edited)
    with open_connection(dsn) as connection, pytest.raises(SchemaError, match=first.name):
        migrating.check(connection, edited)


def test_a_newer_schema_is_not_migrated_but_still_served(dsn: str) -> None:
    """An older release refuses to touch the schema, and keeps writing and reading."""
    older = other_release(*open_sql().migrations()[:-1])
    with pytest.raises(SchemaError, match="upgrade pipespan"):
        migrate(dsn, older)
    sink, source = PostgresSink(dsn, sql=older), PostgresSource(dsn, sql=older)
    Shipper(sink).ship(log())
    assert len(source.logs(EXPERIMENT_ID, LogFilter())) == 1
    sink.close()
    source.close()


def test_an_older_writer_works_on_a_newer_schema(dsn: str) -> None:
    """Columns that a later release adds to any table disturb neither the writer's statements nor the reader's."""
    added = "; ".join(
        f"alter table {name} add column later_{number} text default 'x', add column more_{number} jsonb"
        for number, name in enumerate(sorted(TABLES))
    )
    migrate(dsn, other_release(*open_sql().migrations(), MigrationFile(900, "0900_more.sql", added.encode())))
    sink, source = PostgresSink(dsn), PostgresSource(dsn)
    shipper = Shipper(sink)
    for version in (1, 2):
        shipper.ship(
            experiment(version=version), job("88888888-0000-4000-8000-000000000000", version=version),
            node("p", version=version), node("p/a", "p", version=version, status="completed"), log(level="ERROR"),
            event(), metric(),
        )  # fmt: skip
    assert [found.progress_percent for found in source.nodes(EXPERIMENT_ID)] == [100.0, 100.0]
    assert source.experiments(limit=1)[0].error_count == 2
    assert len(source.events(EXPERIMENT_ID, limit=9)) == len(source.metrics(EXPERIMENT_ID, limit=9)) == 2
    sink.close()
    source.close()


def test_a_newer_release_finds_its_migration_missing(dsn: str) -> None:
    """Writers of a newer release say what to run, and the run applies just the new file."""
    new = MigrationFile(900, "0900_more.sql", b"create table more (n int); insert into more values (1);")
    newer = other_release(*open_sql().migrations(), new)
    with pytest.raises(SchemaError, match="1 migration"):
        PostgresSource(dsn, sql=newer).experiments(limit=1)
    assert migrate(dsn, newer) == [new.name]
    assert "more" in tables(dsn)


def test_a_file_that_fails_leaves_nothing_of_itself(dsn: str) -> None:
    """A file and its record are one transaction; those before it stay."""
    good = MigrationFile(900, "0900_good.sql", b"create table good (n int)")
    bad = MigrationFile(901, "0901_bad.sql", b"create table bad (n int); select 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        migrate(dsn, other_release(*open_sql().migrations(), good, bad))
    assert {"good", "bad"} & tables(dsn) == {"good"}
    with open_connection(dsn) as connection:
        assert max(record.version for record in applied_migrations(connection, open_sql())) == 900


def test_missing_rights_name_the_remedy(dsn: str, empty_dsn: str) -> None:
    """Who may not create tables is told so in one line."""
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as admin:
        name = f"r{admin.info.dbname}"
        admin.execute(f"create role {name} login")
        try:
            admin.execute("revoke create on schema public from public")
            with pytest.raises(StoreUnavailableError, match=r"permission denied.*grant"):
                migrate(psycopg.conninfo.make_conninfo(empty_dsn, user=name))
        finally:
            admin.execute(f"drop role {name}")


def test_a_role_that_is_no_superuser_migrates_once_it_may_set_our_parameter(
    pg_admin_dsn: str, empty_dsn: str
) -> None:
    """From Postgres 15 on that takes a right of its own: the error names it, and with it all goes through."""
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as admin:
        name = f"r{admin.info.dbname}"
        admin.execute(f"create role {name} login")
        theirs = psycopg.conninfo.make_conninfo(empty_dsn, user=name)
        try:
            admin.execute(f"grant create on schema public to {name}")
            if admin.info.server_version >= 150000:
                with pytest.raises(
                    StoreUnavailableError, match=r'grant set on parameter "pipespan.rolling_up"'
                ):
                    migrate(theirs)
                admin.execute(f'grant set on parameter "pipespan.rolling_up" to {name}')
            migrate(theirs)
            assert migrate(theirs) == []
        finally:
            admin.execute(f"drop owned by {name} cascade")
            admin.execute(f"drop role {name}")


def test_tables_of_another_program_are_taken_over(empty_dsn: str) -> None:
    """Existing experiments and jobs keep their rows and columns, get ours, and can be written."""
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as admin:
        admin.execute(
            "create table experiments (id uuid primary key, name varchar(80), owner text, status text default 'new');"
            "create table processing_jobs (id uuid primary key, experiment_id uuid references experiments, note text);"
            "insert into experiments values ('99999999-0000-4000-8000-000000000000', 'theirs', 'bob', 'archived')"
        )
        migrate(empty_dsn)
        sink = PostgresSink(empty_dsn)
        Shipper(sink).ship(experiment(), job("88888888-0000-4000-8000-000000000000"), node("p"))
        sink.close()
        found = admin.execute("select name, owner, status from experiments order by name").fetchall()
    assert found == [("theirs", "bob", "archived"), ("train", None, "running")]


def test_another_schema_of_the_search_path_takes_the_tables(empty_dsn: str) -> None:
    """Tables, partitions and the trigger live where the search path points, and work from elsewhere too."""
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as admin:
        admin.execute("create schema elsewhere")
        own = psycopg.conninfo.make_conninfo(empty_dsn, options="-c search_path=elsewhere")
        migrate(own)
        assert tables(empty_dsn) == set()
        sink, source = PostgresSink(own), PostgresSource(own)
        Shipper(sink).ship(node("p"), node("p/a", "p", completed_units=1, total_units=2))
        admin.execute("update elsewhere.pipeline_progress set completed_units = 2 where node_id = 'p/a'")
        assert {found.progress_percent for found in source.nodes(EXPERIMENT_ID)} == {100.0}
        sink.close()
        source.close()


FILES = [MigrationFile(number, f"{number:04}_x.sql", bytes([number])) for number in (1, 2, 3)]


def records(*versions: int) -> list[AppliedMigration]:
    return [
        AppliedMigration(version, f"{version:04}_x.sql", migrations.checksum(bytes([version])))
        for version in versions
    ]


@pytest.mark.parametrize(("applied", "waiting"), [((), [1, 2, 3]), ((1,), [2, 3]), ((1, 2, 3), [])])
def test_what_waits_is_what_was_not_applied(applied: tuple[int, ...], waiting: list[int]) -> None:
    """Files apply in the order of their numbers."""
    assert [file.version for file in migrations.pending(FILES[::-1], records(*applied))] == waiting


@pytest.mark.parametrize("applied", [(1, 3), (1, 2, 3, 4), (4,)])
def test_other_histories_are_refused(applied: tuple[int, ...]) -> None:
    """A gap or an unknown file means that another program made the schema."""
    with pytest.raises(SchemaError):
        migrations.pending(FILES, records(*applied))


def test_files_are_numbered_without_gaps() -> None:
    """Two branches that add the same number are noticed here."""
    versions = [file.version for file in open_sql().migrations()]
    assert versions == list(range(1, len(versions) + 1))


def test_line_ends_of_a_checkout_do_not_change_a_checksum(tmp_path: Path) -> None:
    """A checkout with CRLF applies the same migrations."""
    for folder, end in (("lf", b"\n"), ("crlf", b"\r\n")):
        (tmp_path / folder / "migrations").mkdir(parents=True)
        (tmp_path / folder / "migrations" / "0001_x.sql").write_bytes(b"select 1;" + end)
    assert SqlFiles(tmp_path / "lf").migrations() == SqlFiles(tmp_path / "crlf").migrations()


def test_queries_are_named_as_their_files() -> None:
    """Each query's header has the name under which it is asked for."""
    sql = open_sql()
    for name in sql.query_names():
        assert sql.query(name).decode().splitlines()[0] == f"-- name: {name}"


def test_waiting_migrations_are_told_and_nothing_is_changed(
    empty_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` gives one line each and exit code 1, `--dry-run` the same with 0; afterwards nothing is pending."""
    pending = [f"pending {file.name}" for file in open_sql().migrations()]
    for option, code in (("--check", 1), ("--dry-run", 0)):
        assert main(["db", "migrate", option, "--dsn", empty_dsn]) == code
        assert capsys.readouterr().out.splitlines() == pending
    assert tables(empty_dsn) == set()
    migrate(empty_dsn)
    assert main(["db", "migrate", "--check", "--dsn", empty_dsn]) == 0
    assert capsys.readouterr().out == "the schema is up to date\n"
