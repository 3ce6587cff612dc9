"""The Postgres sink where it is more than the reference: many writers, lost connections, partitions, cycles."""

from __future__ import annotations

import multiprocessing
import random
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from pipespan.errors import OffsetError, RefusedError, SchemaError, StoreUnavailableError
from pipespan.model.records import NodeRecord
from pipespan.model.rows import ROW_TYPES, NodeRow, Row, columns
from pipespan.model.tree import Rollup, rollup
from pipespan.store.base import LogFilter
from pipespan.store.postgres.connect import Timeouts
from pipespan.store.postgres.migrate import migrate
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from pipespan.store.sqlfiles import open_sql
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import (
    EXPERIMENT_ID,
    MOMENT_UNIX_NS,
    Shipper,
    batch_of,
    experiment,
    job,
    log,
    new_key,
    node,
)


@pytest.fixture
def sink(dsn: str) -> Iterator[PostgresSink]:
    opened = PostgresSink(dsn)
    yield opened
    opened.close()


@pytest.fixture
def source(dsn: str) -> Iterator[PostgresSource]:
    opened = PostgresSource(dsn)
    yield opened
    opened.close()


def sums_of(counted: NodeRecord | Rollup) -> tuple[int, int, int]:
    return counted.child_weight, counted.child_sum, counted.child_reached


def assert_sums_are_exact(source: PostgresSource) -> None:
    nodes = source.nodes(EXPERIMENT_ID)
    expected = rollup(nodes)
    assert nodes
    for record in nodes:
        sums = expected[record.node_id]
        assert sums_of(record) == sums_of(sums)
        assert record.progress_percent == sums.ppb / 10**7


def shared_tree_batches(writer: int, count: int) -> list[list[NodeRow]]:
    """Batches over a tree of three levels that all writers share, in an order of the writer's own."""
    chance = random.Random(writer)
    batches = []
    for number in range(count):
        rows = [node("p", version=1)]
        for _ in range(20):
            phase, leaf = chance.randrange(5), chance.randrange(12)
            version = number * 1000 + chance.randrange(1000) * 4 + writer
            done = chance.randrange(8)
            rows.append(node(f"p/{phase}", "p", version=1))
            rows.append(
                node(
                    f"p/{phase}/{leaf}",
                    f"p/{phase}",
                    version=version,
                    completed_units=done,
                    total_units=7,
                    status=chance.choice(["running", "running", "running", "completed", "failed"]),
                    weight=chance.choice([0.5, 1.0, 2.0]),
                )
            )
        chance.shuffle(rows)
        batches.append(rows)
    return batches


def ship_shared_tree(dsn: str, writer: int, count: int) -> None:
    sink = PostgresSink(dsn)
    shipper = Shipper(sink)
    for rows in shared_tree_batches(writer, count):
        shipper.ship(*rows, log("slow", level="ERROR"))
    sink.close()


def test_four_threads_on_one_experiment_stay_exact(dsn: str, source: PostgresSource) -> None:
    """Writers with a sink each neither deadlock nor lose a difference, nor an error."""
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ship_shared_tree, dsn, writer, 15) for writer in range(4)]:
            done.result()
    assert_sums_are_exact(source)
    assert source.experiments(limit=1)[0].error_count == 60


def test_four_processes_on_one_experiment_stay_exact(dsn: str, source: PostgresSource) -> None:
    """The same from processes, which share nothing but the database."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=ship_shared_tree, args=(dsn, writer, 8)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert_sums_are_exact(source)


def test_writers_that_share_experiments_do_not_deadlock(dsn: str, source: PostgresSource) -> None:
    """Batches that touch several experiments in opposite orders wait for each other, and not in a ring."""
    ids = [str(uuid.uuid4()) for _ in range(6)]

    def ship(writer: int) -> None:
        sink = PostgresSink(dsn)
        shipper = Shipper(sink)
        chance = random.Random(writer)
        for version in range(20):
            chance.shuffle(ids_of := list(ids))
            shipper.ship(
                experiment(ids_of[0], version=version),
                job(str(uuid.uuid4()), experiment_id=ids_of[1]),
                *(node("p", experiment_id=found, version=version) for found in ids_of[2:5]),
                log(experiment_id=ids_of[5], level="ERROR"),
            )
        sink.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ship, writer) for writer in range(4)]:
            done.result()
    assert sum(found.error_count for found in source.experiments(limit=10)) == 80


def test_two_shippers_of_one_lane_write_each_batch_once(dsn: str, source: PostgresSource) -> None:
    """Whoever is second with the same bytes is told so, even when both come at the same moment."""
    key = new_key()
    batch = batch_of([log("once")], key)
    together = threading.Barrier(4)

    def ship() -> bool:
        sink = PostgresSink(dsn)
        sink.offset(key)
        together.wait(10)
        try:
            sink.ship(batch)
        except OffsetError as error:
            assert error.shipped_bytes == batch.end_bytes
            return False
        finally:
            sink.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        won = [done.result() for done in [pool.submit(ship) for _ in range(4)]]
    assert won.count(True) == 1
    assert len(source.logs(EXPERIMENT_ID, LogFilter())) == 1


def test_a_killed_connection_loses_and_doubles_nothing(
    sink: PostgresSink, source: PostgresSource, conn: Connection
) -> None:
    """After each break the shipper asks the ledger and goes on from there, with the same sink."""
    shipper = Shipper(sink)
    breaks = 0
    for number in range(30):
        rows: list[Row] = [
            log(f"m{number}"),
            node("p", completed_units=number, total_units=30, version=number),
        ]
        batch = batch_of(rows, shipper.key, shipper.position)
        if number % 5 == 0:
            conn.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'pipespan' and datname = current_database() and pid <> pg_backend_pid()"
            )
        while True:
            try:
                sink.ship(batch)
            except StoreUnavailableError:
                breaks += 1
                if sink.offset(shipper.key) == batch.end_bytes:
                    break
            except OffsetError as error:
                assert error.shipped_bytes == batch.end_bytes
                break
            else:
                break
        shipper.position = batch.end_bytes
    assert breaks >= 5
    messages = [found.message for found in source.logs(EXPERIMENT_ID, LogFilter())]
    assert messages == [f"m{number}" for number in range(30)]
    assert_sums_are_exact(source)


def test_a_connection_killed_while_a_batch_waits_leaves_nothing(
    dsn: str, sink: PostgresSink, source: PostgresSource, conn: Connection
) -> None:
    """A break after the lines were sent and before the commit rolls all of them back, ledger included."""
    shipper = Shipper(sink)
    shipper.ship(experiment())
    with psycopg.connect(dsn) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("select from experiments for update")
        waiting = pool.submit(shipper.ship, node("p"), log("lost?", level="ERROR"))
        killed = None
        while not killed:
            killed = conn.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'pipespan' and wait_event_type = 'Lock'"
            ).fetchone()
        with pytest.raises(StoreUnavailableError):
            waiting.result()
    assert sink.offset(shipper.key) == shipper.position
    assert source.logs(EXPERIMENT_ID, LogFilter()) == []
    shipper.ship(node("p"), log("kept", level="ERROR"))
    assert source.experiments(limit=1)[0].error_count == 1


def test_a_lock_that_does_not_come_is_no_refusal(dsn: str, sink: PostgresSink) -> None:
    """The batch is good, so a timeout asks to try again, and trying again succeeds."""
    Shipper(sink).ship(experiment())
    impatient = PostgresSink(dsn, timeouts=Timeouts(statement_s=5, lock_s=0.05))
    shipper = Shipper(impatient)
    with psycopg.connect(dsn) as holder:
        holder.execute("select from experiments for update")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            shipper.ship(node("p"))
    shipper.ship(node("p"))
    impatient.close()


def test_a_sink_serves_the_child_of_a_fork(sink: PostgresSink, source: PostgresSource) -> None:
    """The child opens a connection of its own and leaves the parent's alone."""
    shipper = Shipper(sink)
    shipper.ship(log("before"))
    child = multiprocessing.get_context("fork").Process(target=_ship_in_child, args=(sink,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    shipper.ship(log("after"))
    assert {found.message for found in source.logs(EXPERIMENT_ID, LogFilter())} == {
        "before",
        "child",
        "after",
    }


def _ship_in_child(sink: PostgresSink) -> None:
    Shipper(sink).ship(log("child"))
    sink.close()


def test_batches_of_all_kinds_follow_each_other(sink: PostgresSink, source: PostgresSource) -> None:
    """Each batch finds the session's tables empty, whatever kinds of rows the one before it brought."""
    shipper = Shipper(sink)
    job_id = str(uuid.uuid4())
    for number in range(10):
        shipper.ship(node(f"n{number}"), *([job(job_id, version=number)] if number % 3 else []))
    shipper.ship(experiment(version=7), node("n3", version=2, completed_units=1, total_units=2))
    shipper.ship(node("n3", version=3, completed_units=2, total_units=2))
    assert [found.node_id for found in source.nodes(EXPERIMENT_ID)] == [f"n{number}" for number in range(10)]
    assert [found.version for found in source.jobs(EXPERIMENT_ID)] == [8]
    assert source.experiments(limit=2)[0].version == 7


def test_a_failed_batch_does_not_leak_into_the_next(sink: PostgresSink, source: PostgresSource) -> None:
    """What was staged of a refused batch is gone."""
    shipper = Shipper(sink)
    with pytest.raises(RefusedError, match="pipeline_progress__status__known"):
        shipper.ship(node("good"), node("bad", status="odd"))  # type: ignore[arg-type]
    shipper.ship(node("next"))
    assert [found.node_id for found in source.nodes(EXPERIMENT_ID)] == ["next"]


def test_rows_go_to_the_partition_of_their_day(sink: PostgresSink, conn: Connection) -> None:
    """Days from yesterday to a week ahead have partitions, made again when one is missing; others share one."""
    now = datetime.now(timezone.utc)
    tomorrow = now + timedelta(days=1)
    conn.execute(f"drop table pipeline_logs_p{tomorrow:%Y%m%d}")
    shipper = Shipper(sink)
    shipper.ship(*(log(timestamp=int(day.timestamp()) * 10**9) for day in (now, tomorrow)), log("old"))
    places = conn.execute(
        "select tableoid::regclass::text from pipeline_logs order by timestamp desc"
    ).fetchall()
    assert [place for (place,) in places] == [
        f"pipeline_logs_p{tomorrow:%Y%m%d}",
        f"pipeline_logs_p{now:%Y%m%d}",
        "pipeline_logs_default",
    ]


def test_partitions_are_made_once_by_many(dsn: str, conn: Connection) -> None:
    """Sinks that start together make each partition once, and fail never."""
    for (name,) in conn.execute("select relname from pg_class where relname ~ '_p[0-9]{8}$'").fetchall():
        conn.execute(f"drop table {name}")

    def ensure(_: int) -> int:
        with psycopg.connect(dsn, autocommit=True) as own:
            row = own.execute("select pipespan_ensure_partitions_v1(7)").fetchone()
            return int(row[0]) if row else 0

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ensure, range(4))) == 27
    assert ensure(0) == 0


def test_a_day_with_rows_in_the_default_partition_is_left_there(sink: PostgresSink, conn: Connection) -> None:
    """Rows that came before their partition stay readable, and writing goes on."""
    today = datetime.now(timezone.utc)
    conn.execute(f"drop table pipeline_logs_p{today:%Y%m%d}")
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message)"
        " values (%s, now(), 'INFO', 9, '', 'early')",
        (EXPERIMENT_ID,),
    )
    Shipper(sink).ship(log("late", timestamp=int(today.timestamp()) * 10**9))
    assert conn.execute("select count(*) from pipeline_logs_default").fetchone() == (2,)


def test_a_cycle_of_parents_is_stored_in_bounded_time(sink: PostgresSink, source: PostgresSource) -> None:
    """Parents that go round in a ring lose no row and hang nobody."""
    shipper = Shipper(sink)
    shipper.ship(node("a", "b"), node("b", "a"), node("self", "self"))
    shipper.ship(*(node(f"a/{number}", "a", completed_units=1, total_units=3) for number in range(3)))
    shipper.ship(node("a/0", "a", status="completed", version=2))
    assert len(source.nodes(EXPERIMENT_ID)) == 6


def test_rows_changed_by_hand_keep_the_sums(
    sink: PostgresSink, source: PostgresSource, conn: Connection
) -> None:
    """Inserts, updates and deletes by anybody go through the same trigger; an experiment goes with its nodes."""
    Shipper(sink).ship(
        experiment(), node("p"), node("p/a", "p"), *(node(f"p/a/{number}", "p/a") for number in range(5))
    )
    conn.execute("update pipeline_progress set status = 'completed' where node_id in ('p/a/0', 'p/a/1')")
    assert_sums_are_exact(source)
    conn.execute("delete from pipeline_progress where node_id in ('p/a/1', 'p/a/2')")
    assert_sums_are_exact(source)
    conn.execute(
        "insert into pipeline_progress (experiment_id, node_id, parent_id, node_level, node_name, status)"
        " values (%s, 'p/a/9', 'p/a', 'step', '9', 'completed')",
        (EXPERIMENT_ID,),
    )
    assert_sums_are_exact(source)
    conn.execute("delete from experiments")
    assert source.nodes(EXPERIMENT_ID) == []


def test_a_database_without_schema_names_the_command(empty_dsn: str) -> None:
    """Writer and reader say what to run, and work once it was run."""
    sink, source = PostgresSink(empty_dsn), PostgresSource(empty_dsn)
    for ask in (lambda: sink.ship(batch_of([log()], new_key())), lambda: source.experiments(limit=1)):
        with pytest.raises(SchemaError, match="pipespan db migrate"):
            ask()
    migrate(empty_dsn)
    Shipper(sink).ship(log("now"))
    assert len(source.logs(EXPERIMENT_ID, LogFilter())) == 1
    sink.close()
    source.close()


def test_a_table_that_went_away_is_a_matter_of_schema(sink: PostgresSink, conn: Connection) -> None:
    """What an open connection finds missing is not taken for the rows' fault."""
    shipper = Shipper(sink)
    shipper.ship(log())
    conn.execute("drop table pipeline_logs cascade")
    with pytest.raises(SchemaError, match="pipespan db migrate"):
        shipper.ship(log())


def test_a_read_only_database_is_no_refusal(dsn: str, conn: Connection) -> None:
    """The rows are good: the remedy is named and the batch may come again."""
    conn.execute(
        "do $$ begin execute format('alter database %I set default_transaction_read_only to on',"
        " current_database()); end $$"
    )
    sink = PostgresSink(dsn)
    with pytest.raises(StoreUnavailableError, match="accepts writes"):
        sink.ship(batch_of([log()], new_key()))
    sink.close()


def test_missing_rights_are_no_refusal(dsn: str, conn: Connection) -> None:
    """A role without rights gets the remedy."""
    role = f"r{uuid.uuid4().hex}"
    conn.execute(f"create role {role} login")
    sink = PostgresSink(psycopg.conninfo.make_conninfo(dsn, user=role))
    try:
        conn.execute(f"grant select on pipespan_migrations to {role}")
        with pytest.raises(StoreUnavailableError, match="grant"):
            sink.ship(batch_of([log()], new_key()))
    finally:
        sink.close()
        conn.execute(f"drop owned by {role}")
        conn.execute(f"drop role {role}")


def test_a_source_survives_the_death_of_its_connection(source: PostgresSource, conn: Connection) -> None:
    """A reader that slept through a restart of the server just connects again."""
    assert source.experiments(limit=1) == []
    conn.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'pipespan'"
        " and datname = current_database()"
    )
    assert source.experiments(limit=1) == []


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.__name__)
def test_copy_takes_the_columns_of_a_row_in_their_order(row_type: type) -> None:
    """The lines of the spool are sent unread, so the lists in SQL must be those of the row types."""
    found = []
    for name in open_sql().query_names():
        text = open_sql().query(name).decode()
        if name.startswith("copy_") and f" {row_type.__name__}, " in text:
            found.append(tuple(word.strip() for word in text.split("(")[1].split(")")[0].split(",")))
    assert found == [columns(row_type)]


def test_the_moment_is_kept_to_the_microsecond(sink: PostgresSink, conn: Connection) -> None:
    """Times are stored as they were written, whatever the server's zone and date style are."""
    conn.execute(
        "do $$ begin execute format('alter database %I set timezone to ''Asia/Kolkata''', current_database());"
        " execute format('alter database %I set datestyle to ''SQL, DMY''', current_database()); end $$"
    )
    Shipper(sink).ship(log())
    row = conn.execute("select extract(epoch from timestamp) * 1000000 from pipeline_logs").fetchone()
    assert row is not None
    assert int(row[0]) == MOMENT_UNIX_NS // 1000
