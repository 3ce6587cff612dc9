"""What goes and what stays, on a real Postgres; a small model in Python says what the rules mean."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.errors import StoreUnavailableError
from pipespan.model.retention import DEFAULT_RETENTION, Retention
from pipespan.store.maintenance import PruneRules
from pipespan.store.postgres.maintain import PostgresMaintenance
from pipespan.store.postgres.maintain_retain import prune_rules, retain
from pipespan.store.postgres.migrate import migrate
from pipespan.store.postgres.retaining import LATE_LOOK_S, RetainingSink
from pipespan.store.postgres.write import PostgresSink
from pipespan.store.sqlfiles import open_sql
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, log
from tests.store.aged import (
    DAY,
    TABLES,
    Kept,
    add_event,
    add_experiment,
    add_log,
    add_logs,
    add_metric,
    add_node,
    at_day,
    kept,
    make_days,
    partitions,
    start_of_day,
    utc_now,
)


@pytest.fixture
def maintenance(dsn: str) -> Iterator[PostgresMaintenance]:
    opened = PostgresMaintenance(dsn)
    yield opened
    opened.close()


def before(days: int) -> datetime:
    return utc_now() - days * DAY


# --- the model


@dataclass(frozen=True)
class Run:
    name: str
    age_days: int
    status: str
    pinned: bool


@dataclass(frozen=True)
class OldRow:
    run: int
    table: str
    days_ago: int
    level: str


DAYS = (0, 1, 6, 31, 40, 179, 185)
WITHOUT_PARTITION = 250

runs = st.lists(
    st.builds(
        Run, st.sampled_from(["a", "b"]), st.sampled_from([0, 3, 50, 190]),
        st.sampled_from(["completed", "failed", "running"]), st.booleans(),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
rows = st.lists(
    st.builds(
        OldRow, st.integers(0, 4), st.sampled_from(TABLES), st.sampled_from([*DAYS, WITHOUT_PARTITION]),
        st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
    ),
    max_size=25,
)  # fmt: skip
rules_of_ages = st.builds(
    lambda mild, rest, runs: (mild, rest, runs),
    st.sampled_from([None, 0, 5, 30]), st.sampled_from([None, 35, 180]), st.sampled_from([None, 0, 1, 2]),
)  # fmt: skip


def fill(conn: Connection, wanted: list[Run], old: list[OldRow]) -> list[str]:
    for table in (*TABLES, "experiments", "pipespan_thinned"):
        conn.execute(f"delete from {table}".encode())
    make_days(conn, DAYS)
    ids = []
    for number, run in enumerate(wanted):
        moment = at_day(run.age_days, hour=0) - timedelta(minutes=number)
        ended = None if run.status == "running" else moment
        ids.append(
            add_experiment(
                conn, run.name, status=run.status, started_at=moment, ended_at=ended, pinned=run.pinned
            )
        )
        add_node(conn, ids[-1])
    for number, row in enumerate(old):
        owner, at, tag = ids[row.run % len(ids)], at_day(row.days_ago), str(number)
        if row.table == "pipeline_logs":
            add_log(conn, owner, at, tag, row.level)
        elif row.table == "pipeline_events":
            add_event(conn, owner, at, tag)
        else:
            add_metric(conn, owner, at, tag)
    return ids


def is_doomed(number: int, wanted: list[Run], rules: PruneRules, now: datetime) -> bool:
    run = wanted[number]
    sign = at_day(run.age_days, hour=0) - timedelta(minutes=number)
    if run.pinned:
        return False
    if rules.rest_before is not None and sign < rules.rest_before:
        return True
    alike = [other for other in range(len(wanted)) if wanted[other].name == run.name]
    alike.sort(key=lambda other: (wanted[other].age_days, other))
    is_over = rules.keep_runs is not None and alike.index(number) >= rules.keep_runs
    return is_over and (run.status != "running" or sign < now - DAY)


def expected(wanted: list[Run], old: list[OldRow], rules: PruneRules, ids: list[str]) -> Kept:
    now = utc_now()
    doomed = {number for number in range(len(wanted)) if is_doomed(number, wanted, rules, now)}

    def stays(row: OldRow) -> bool:
        owner = row.run % len(wanted)
        if owner in doomed:
            return False
        if wanted[owner].pinned:
            return True
        day_ends = start_of_day(at_day(row.days_ago)) + DAY
        if rules.rest_before is not None and day_ends <= rules.rest_before:
            return False
        is_mild = row.table == "pipeline_logs" and row.level not in ("ERROR", "CRITICAL")
        return not (is_mild and rules.mild_before is not None and day_ends <= rules.mild_before)

    def tags(table: str) -> list[str]:
        return sorted(str(number) for number, row in enumerate(old) if row.table == table and stays(row))

    return Kept(
        logs=tags("pipeline_logs"),
        events=tags("pipeline_events"),
        metrics=tags("pipeline_metrics"),
        experiments={one for number, one in enumerate(ids) if number not in doomed},
        nodes=len(wanted) - len(doomed),
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(wanted=runs, old=rows, ages=rules_of_ages)
def test_prune_keeps_exactly_what_the_rules_say(
    conn: Connection, maintenance: PostgresMaintenance, wanted: list[Run], old: list[OldRow], ages: Any
) -> None:
    """Whatever there is and whatever the rules are; a second time finds nothing, and the dry run changes nothing."""
    ids = fill(conn, wanted, old)
    mild, rest, keep_runs = ages
    rules = PruneRules(
        None if mild is None else before(mild), None if rest is None else before(rest), None, keep_runs
    )
    everything = kept(conn)
    foreseen = maintenance.prune(rules, is_dry_run=True)
    assert kept(conn) == everything
    done = maintenance.prune(rules)
    assert kept(conn) == expected(wanted, old, rules, ids)
    assert {one.id for one in done.experiments} == {one.id for one in foreseen.experiments}
    again = maintenance.prune(rules)
    assert (again.partitions, again.experiments, again.rows) == ((), (), 0)


# --- partitions


def test_errors_of_old_days_survive_while_the_rest_goes(
    conn: Connection, maintenance: PostgresMaintenance
) -> None:
    """After 30 days a partition holds its errors only, and takes their room only; after 180 it is gone."""
    make_days(conn, [40, 190], ["pipeline_logs"])
    owner = add_experiment(conn)
    for days in (40, 190):
        add_logs(conn, owner, at_day(days), 3_000)
        add_logs(conn, owner, at_day(days), 3, "ERROR")
    report = maintenance.prune(prune_rules(DEFAULT_RETENTION, utc_now()))
    counts = partitions(conn)
    assert counts[f"pipeline_logs_p{at_day(40):%Y%m%d}"] == 3
    assert f"pipeline_logs_p{at_day(190):%Y%m%d}" not in counts
    assert report.bytes_before - report.bytes_after > 2 * 3_000 * 400
    assert sum(one.rows for one in report.partitions) > 5_000


def test_a_thinned_partition_is_as_good_as_any(conn: Connection, maintenance: PostgresMaintenance) -> None:
    """It has all indexes and rules of the table, takes rows that come late, and is thinned again for their sake."""
    make_days(conn, [40], ["pipeline_logs"])
    owner = add_experiment(conn)
    for level in ("INFO", "ERROR"):
        add_log(conn, owner, at_day(40), level, level)
    rules = prune_rules(DEFAULT_RETENTION, utc_now())
    maintenance.prune(rules)
    name = f"pipeline_logs_p{at_day(40):%Y%m%d}"
    shape = (
        "select (select count(*) from pg_index where indrelid = %(name)s::regclass and indisvalid),"
        " (select array_agg(conname order by 1) from pg_constraint"
        " where conrelid = %(name)s::regclass and contype = 'c')"
    )
    fresh = f"pipeline_logs_p{utc_now():%Y%m%d}"
    assert conn.execute(shape, {"name": name}).fetchone() == conn.execute(shape, {"name": fresh}).fetchone()
    for level in ("DEBUG", "CRITICAL"):
        add_log(conn, owner, at_day(40), level, level)
    assert partitions(conn)[name] == 3
    maintenance.prune(rules)
    assert kept(conn).logs == ["CRITICAL", "ERROR"]


def test_cleanup_old_logs_tells_what_it_freed(conn: Connection) -> None:
    """The function drops whole days, errors too, and leaves alone pinned experiments, events and what is newer."""
    make_days(conn, [1, 8, 9, 10])
    ordinary, pinned = add_experiment(conn), add_experiment(conn, pinned=True)
    for days in (1, 8, 9, 10):
        add_logs(conn, ordinary, at_day(days), 100, "ERROR")
    add_log(conn, pinned, at_day(9), "pinned")
    add_event(conn, ordinary, at_day(9), "event")
    add_log(conn, ordinary, at_day(500), "in the default partition")
    freed = {
        name: (rows, size)
        for name, rows, size in conn.execute("select * from cleanup_old_logs(7)").fetchall()
    }
    dropped = [f"pipeline_logs_p{at_day(ago):%Y%m%d}" for ago in (8, 9, 10)]
    assert set(freed) == {*dropped, "pipeline_logs_default"}
    assert freed["pipeline_logs_default"] == (1, 0)
    assert freed[dropped[0]][1] > 10_000
    assert partitions(conn)[dropped[1]] == 1
    assert {dropped[0], dropped[2]}.isdisjoint(partitions(conn))
    assert len(kept(conn).logs) == 101
    assert kept(conn).events == ["event"]
    assert conn.execute("select * from cleanup_old_logs(7)").fetchall() == []


@pytest.mark.parametrize("days", ["null", "-1", "2000000000"])
def test_cleanup_old_logs_refuses_what_is_no_age(conn: Connection, days: str) -> None:
    """A slip in a script deletes nothing."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot be older than"):
        conn.execute(f"select * from cleanup_old_logs({days})".encode())


def test_rows_are_not_copied_by_an_old_snapshot(conn: Connection) -> None:
    """In a transaction that does not see what others commit, rows would be lost: it is refused."""
    conn.execute("begin isolation level repeatable read")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="read committed"):
        conn.execute("select * from cleanup_old_logs(7)")
    conn.execute("rollback")


def test_the_zone_and_style_of_a_session_do_not_matter(conn: Connection) -> None:
    """Bounds of partitions mean the same instants to everybody."""
    make_days(conn, [8], ["pipeline_logs"])
    add_log(conn, add_experiment(conn, pinned=True), at_day(8), "stays")
    add_log(conn, add_experiment(conn), at_day(8), "goes")
    conn.execute("set timezone to 'Asia/Kolkata'")
    conn.execute("set datestyle to 'SQL, DMY'")
    conn.execute("select * from cleanup_old_logs(7)")
    assert kept(conn).logs == ["stays"]
    assert partitions(conn)[f"pipeline_logs_p{at_day(8):%Y%m%d}"] == 1


def test_a_large_default_partition_is_not_read_with_locks_held(
    conn: Connection, maintenance: PostgresMaintenance
) -> None:
    """Attaching would read it whole: there rows are deleted instead, with the same outcome."""
    make_days(conn, [40], ["pipeline_logs"])
    owner = add_experiment(conn)
    add_logs(conn, owner, utc_now() + 3000 * DAY, 35_000)
    add_logs(conn, owner, at_day(40), 10)
    add_logs(conn, owner, at_day(40), 2, "ERROR")
    maintenance.prune(PruneRules(mild_before=before(30)))
    assert partitions(conn)[f"pipeline_logs_p{at_day(40):%Y%m%d}"] == 2


# --- size


def test_size_lets_the_oldest_days_go_first(conn: Connection, maintenance: PostgresMaintenance) -> None:
    """Logs below ERROR of old days come first, then everything, until it fits; today's rows and pinned ones stay."""
    make_days(conn, [1, 2, 3], ["pipeline_logs"])
    owner, pinned = add_experiment(conn), add_experiment(conn, pinned=True)
    for days in (0, 1, 2, 3):
        add_logs(conn, owner, at_day(days), 4_000)
        add_log(conn, owner, at_day(days), f"error {days}", "ERROR")
    add_log(conn, pinned, at_day(3), "pinned")
    size = sum(one.live_bytes for one in maintenance.inspect().sizes)
    foreseen = maintenance.prune(PruneRules(max_bytes=size - 3_000_000), is_dry_run=True)
    report = maintenance.prune(PruneRules(max_bytes=size - 3_000_000))
    assert {one.partition for one in report.partitions} == {one.partition for one in foreseen.partitions}
    assert report.bytes_after <= size - 3_000_000
    left = kept(conn).logs
    assert [one for one in left if one.startswith("error")] == [f"error {days}" for days in range(4)]
    counts = partitions(conn)
    assert counts[f"pipeline_logs_p{at_day(3):%Y%m%d}"] == 2
    assert counts[f"pipeline_logs_p{at_day(1):%Y%m%d}"] == 4_001

    report = maintenance.prune(PruneRules(max_bytes=1))
    assert report.is_over_limit
    assert sorted(partitions(conn).values(), reverse=True)[:2] == [4_001, 1]
    assert "pinned" in kept(conn).logs


def test_room_that_deleted_rows_left_drives_nothing_out(
    conn: Connection, maintenance: PostgresMaintenance
) -> None:
    """A table does not shrink when rows are deleted; that must not cost more rows at each run."""
    owner = add_experiment(conn, "old", started_at=before(400), ended_at=before(400))
    conn.execute(
        "insert into pipeline_progress (experiment_id, node_id, node_level, node_name, status)"
        " select %s, 'n' || i, 'step', 'n', 'completed' from generate_series(1, 8000) as i",
        (owner,),
    )
    conn.execute("analyze pipeline_progress")
    full = {one.name: one for one in maintenance.inspect().sizes}["pipeline_progress"]
    report = maintenance.prune(PruneRules(rest_before=before(180)))
    after = {one.name: one for one in maintenance.inspect().sizes}["pipeline_progress"]
    assert (len(report.experiments), report.rows) == (1, 8_001)
    assert full.live_bytes > full.bytes / 2
    assert after.bytes >= full.bytes / 2
    assert after.live_bytes < full.live_bytes / 10


# --- experiments


def test_a_table_that_was_there_before_keeps_its_rows(empty_dsn: str) -> None:
    """What pipespan added goes; rows of an adopted table, and what refers to them, are not its to delete."""
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as conn:
        conn.execute("create table experiments (id uuid primary key, title text not null default 'mine')")
        conn.execute(
            "create table results (experiment_id uuid references experiments (id) on delete cascade)"
        )
        migrate(empty_dsn)
        mine = add_experiment(conn, started_at=before(300), ended_at=before(300))
        conn.execute("insert into results values (%s)", (mine,))
        add_node(conn, mine)
        maintenance = PostgresMaintenance(empty_dsn)
        report = maintenance.prune(PruneRules(rest_before=before(180), keep_runs=0))
        assert report.rows == 1
        assert kept(conn).nodes == 0
        assert conn.execute("select title from experiments").fetchall() == [("mine",)]
        assert conn.execute("select count(*) from results").fetchone() == (1,)
        assert maintenance.prune(PruneRules(keep_runs=0)).experiments == ()

        maintenance.recreate()
        assert conn.execute("select title from experiments").fetchall() == [("mine",)]
        assert conn.execute("select count(*) from results").fetchone() == (1,)
        maintenance.close()


def test_an_experiment_that_came_back_to_life_stays(conn: Connection) -> None:
    """Between being chosen and being deleted it may have been resumed, or pinned."""
    seen = utc_now()
    resumed = add_experiment(conn, started_at=before(300), ended_at=None, status="running")
    pinned = add_experiment(conn, started_at=before(300), ended_at=before(300), pinned=True)
    conn.execute(
        "insert into processing_jobs (id, experiment_id, heartbeat_at) values (gen_random_uuid(), %s, now() + '1 s')",
        (resumed,),
    )
    row = conn.execute(
        "select pipespan_delete_experiments_v1(%s::uuid[], %s, 100)", ([resumed, pinned], seen)
    ).fetchone()
    assert row == (0,)
    assert kept(conn).experiments == {resumed, pinned}


def test_deletes_find_their_rows_by_an_index(conn: Connection) -> None:
    """Each delete of an experiment's rows has an index that begins with the experiment."""
    found = conn.execute(
        "select indrelid::regclass::text from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]"
        " where attname = 'experiment_id' and indpred is null"
    ).fetchall()
    assert {*TABLES, "pipeline_progress", "processing_jobs"} <= {name for (name,) in found}


# --- with others at work


def test_nothing_is_lost_while_days_are_thinned(
    dsn: str, conn: Connection, maintenance: PostgresMaintenance
) -> None:
    """Errors that arrive late, into the very day that is being exchanged, and all of today's rows are there."""
    make_days(conn, [40, 41], ["pipeline_logs"])
    owner = add_experiment(conn)
    stop, written = threading.Event(), Counter[str]()

    def write(name: str) -> None:
        with closing(psycopg.connect(dsn, autocommit=True)) as own:
            while not stop.is_set():
                tag = f"{name}-{written[name]}"
                with own.transaction():
                    add_log(own, owner, at_day(40), tag, "ERROR")
                    add_log(own, owner, at_day(40), "mild")
                    add_log(own, owner, utc_now(), tag)
                written[name] += 1

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, name) for name in ("a", "b")]
        deadline = time.monotonic() + 3
        thinned = 0
        while time.monotonic() < deadline or thinned < 2:
            report = maintenance.prune(PruneRules(mild_before=before(30)))
            thinned += len(report.partitions)
        stop.set()
        for writer in writers:
            writer.result()
    tags = sorted(f"{name}-{number}" for name in written for number in range(written[name]))
    found = conn.execute(
        "select message, count(*) from pipeline_logs where message <> 'mild' group by 1"
    ).fetchall()
    assert sorted(found) == [(tag, 2) for tag in tags]


def test_two_pruners_take_turns(dsn: str, conn: Connection) -> None:
    """Both come to their end, and together they remove what one would."""
    make_days(conn, range(35, 45), ["pipeline_logs"])
    for number in range(30):
        owner = add_experiment(conn, started_at=before(300), ended_at=before(300))
        add_logs(conn, owner, at_day(35 + number % 10), 50)
    stays = add_experiment(conn)
    add_log(conn, stays, at_day(36), "error", "ERROR")

    def prune() -> None:
        own = PostgresMaintenance(dsn)
        own.prune(PruneRules(mild_before=before(30), rest_before=before(180)))
        own.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(prune) for _ in range(2)]:
            done.result()
    left = kept(conn)
    assert (left.logs, left.experiments, left.nodes) == (["error"], {stays}, 0)


def test_who_holds_a_partition_is_not_waited_for(
    dsn: str, conn: Connection, maintenance: PostgresMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left for the next time and told; meanwhile nobody waits long behind the request for the lock."""
    make_days(conn, [40], ["pipeline_logs"])
    add_logs(conn, add_experiment(conn), at_day(40), 10)
    with psycopg.connect(dsn) as holder:
        holder.execute("select count(*) from pipeline_logs")
        report = maintenance.prune(PruneRules(mild_before=before(30)))
        assert report.busy == (f"pipeline_logs_p{at_day(40):%Y%m%d}",)
    assert maintenance.prune(PruneRules(mild_before=before(30))).busy == ()


def test_it_stops_between_two_steps(conn: Connection, maintenance: PostgresMaintenance) -> None:
    """What was done stays done, the rest waits for the next time."""
    make_days(conn, [40, 41, 42], ["pipeline_logs"])
    owner = add_experiment(conn)
    for days in (40, 41, 42):
        add_logs(conn, owner, at_day(days), 10)
    answers = iter([True])
    report = maintenance.prune(PruneRules(mild_before=before(30)), may_go_on=lambda: next(answers, False))
    assert (len(report.partitions), report.is_complete) == (1, False)
    assert len(kept(conn).logs) == 20


# --- by itself


def test_the_writer_applies_the_rules_once_an_hour(dsn: str, conn: Connection) -> None:
    """Of many writers one does it; after an hour another; after a run that broke off one sooner."""
    make_days(conn, [40], ["pipeline_logs"])
    owner = add_experiment(conn)
    add_logs(conn, owner, at_day(40), 10)
    assert [retain(dsn, DEFAULT_RETENTION, lambda: True) for _ in range(3)] == [True, False, False]
    assert kept(conn).logs == []
    conn.execute(
        "update pipespan_settings set value = jsonb_build_object('done_at', now() - interval '61 min',"
        " 'claimed_at', now() - interval '61 min') where name = 'retention_run'"
    )
    assert not retain(dsn, DEFAULT_RETENTION, lambda: False)
    assert not retain(dsn, DEFAULT_RETENTION, lambda: True)
    conn.execute(
        "update pipespan_settings set value = value::jsonb"
        " || jsonb_build_object('claimed_at', now() - interval '11 min')"
        " where name = 'retention_run'"
    )
    assert retain(dsn, DEFAULT_RETENTION, lambda: True)


def test_rules_are_those_that_were_set(dsn: str, conn: Connection, maintenance: PostgresMaintenance) -> None:
    """A database of somebody's own keeps everything until rules are set; `off` holds against built-in ones."""
    assert not retain(dsn, None, lambda: True)
    assert maintenance.retention() is None
    rules = Retention(mild_days=3, max_bytes=10**9)
    maintenance.set_retention(rules)
    assert maintenance.retention() == rules
    assert retain(dsn, None, lambda: True)
    maintenance.set_retention(None)
    conn.execute("delete from pipespan_settings where name = 'retention_run'")
    assert not retain(dsn, DEFAULT_RETENTION, lambda: True)
    assert maintenance.inspect().retention.is_set


@pytest.mark.parametrize("stored", ['"often"', '{"mild_days": -3}', '{"mild_days": "x"}', "[]", "{}", "30"])
def test_rules_that_nobody_can_have_meant_remove_nothing(
    dsn: str, conn: Connection, maintenance: PostgresMaintenance, stored: str
) -> None:
    """Whatever stands in the table of settings."""
    conn.execute("insert into pipespan_settings (name, value) values ('retention', %s)", (stored,))
    assert maintenance.retention() is None
    assert not retain(dsn, DEFAULT_RETENTION, lambda: True)


def test_the_sink_starts_it_beside_the_shipping(dsn: str) -> None:
    """It runs in a thread of its own after some shipping, and whatever it raises does not come out."""
    ran = threading.Event()
    now = [0.0]

    def run(may_go_on: Any) -> None:
        assert may_go_on()
        ran.set()
        raise StoreUnavailableError("no rights")

    sink = RetainingSink(PostgresSink(dsn), run, has_default=True, clock_s=lambda: now[0])
    shipper = Shipper(sink)
    shipper.ship(experiment())
    assert not ran.is_set()
    now[0] = 5.0
    shipper.ship(log("one"))
    assert ran.wait(5)
    ran.clear()
    shipper.ship(log("two"))
    now[0] = 1000.0
    assert sink.offset(shipper.key) == shipper.position
    shipper.ship(log("three"))
    assert ran.wait(5)
    sink.close()


def test_a_sink_asks_before_it_starts_it(dsn: str, conn: Connection) -> None:
    """Where another writer has applied the rules within the hour no thread and no connection is made for it."""
    ran = threading.Event()
    inner = PostgresSink(dsn)
    assert inner.is_retention_due(has_default=True)
    assert retain(dsn, DEFAULT_RETENTION, lambda: True)
    assert not inner.is_retention_due(has_default=True)
    now = [0.0]
    sink = RetainingSink(
        inner,
        lambda _may_go_on: ran.set(),
        has_default=True,
        first_look_s=LATE_LOOK_S,
        clock_s=lambda: now[0],
    )
    shipper = Shipper(sink)
    shipper.ship(experiment())
    now[0] = LATE_LOOK_S
    shipper.ship(log("one"))
    assert not ran.wait(0.2)
    conn.execute(
        "update pipespan_settings set value = jsonb_build_object('done_at', now() - interval '61 min',"
        " 'claimed_at', now() - interval '61 min') where name = 'retention_run'"
    )
    shipper.ship(log("two"))
    assert not ran.wait(0.2)
    now[0] *= 2
    shipper.ship(log("three"))
    assert ran.wait(5)
    sink.close()


def test_retention_is_not_due_where_it_cannot_be_told(dsn: str, conn: Connection) -> None:
    """A database that is away or that does not let us is no reason to start anything, and raises nothing."""
    assert not PostgresSink("host=/nowhere dbname=none").is_retention_due(has_default=True)
    conn.execute("alter table pipespan_settings rename to elsewhere")
    with closing(PostgresSink(dsn)) as sink:
        assert not sink.is_retention_due(has_default=True)


def test_retention_is_not_due_where_there_are_no_rules(dsn: str, maintenance: PostgresMaintenance) -> None:
    """A database that keeps everything costs its writers no connection now and then; set rules hold at once."""
    with closing(PostgresSink(dsn)) as sink:
        assert not sink.is_retention_due(has_default=False)
        maintenance.set_retention(Retention(mild_days=3))
        assert sink.is_retention_due(has_default=False)
        maintenance.set_retention(None)
        assert not sink.is_retention_due(has_default=True)


def test_pins_are_told_and_taken_back(conn: Connection, maintenance: PostgresMaintenance) -> None:
    """What stayed for the sake of a pin goes after the pin."""
    make_days(conn, [40], ["pipeline_logs"])
    owner = add_experiment(conn)
    add_log(conn, owner, at_day(40), "mild")
    assert maintenance.pin(owner, is_pinned=True)
    assert not maintenance.pin(EXPERIMENT_ID, is_pinned=True)
    rules = PruneRules(mild_before=before(30))
    maintenance.prune(rules)
    maintenance.prune(rules)
    assert kept(conn).logs == ["mild"]
    assert maintenance.inspect().retention.pinned == 1
    assert maintenance.pin(owner, is_pinned=False)
    maintenance.prune(rules)
    assert kept(conn).logs == []


def test_only_who_is_let_may_delete(dsn: str, conn: Connection) -> None:
    """A role that may write rows cannot remove them unless it is granted the functions; then it need not own tables."""
    role = f"role_{utc_now():%H%M%S%f}"
    conn.execute(f"create role {role} login".encode())
    conn.execute(f"grant select on all tables in schema public to {role}".encode())
    make_days(conn, [40], ["pipeline_logs"])
    add_log(conn, add_experiment(conn), at_day(40))
    own = PostgresMaintenance(psycopg.conninfo.make_conninfo(dsn, user=role))
    try:
        with pytest.raises(StoreUnavailableError, match="permission denied.*grant"):
            own.prune(PruneRules(mild_before=before(30)))
        conn.execute(f"grant execute on all functions in schema public to {role}".encode())
        own.prune(PruneRules(mild_before=before(30)))
        assert kept(conn).logs == []
    finally:
        own.close()
        conn.execute(f"drop owned by {role}".encode())
        conn.execute(f"drop role {role}".encode())


@pytest.mark.parametrize("schema", ["runs", 'Odd "Name"; --'])
def test_all_of_it_works_in_a_schema_of_its_own(empty_dsn: str, schema: str) -> None:
    """Whatever the schema is called, and although it is not on the connection's search path."""
    migrate(empty_dsn, schema=schema)
    maintenance = PostgresMaintenance(empty_dsn, schema=schema)
    with closing(psycopg.connect(empty_dsn, autocommit=True)) as conn:
        conn.execute("select set_config('search_path', quote_ident(%s), false)", (schema,))
        make_days(conn, [40, 200], ["pipeline_logs"])
        owner = add_experiment(conn)
        for days in (40, 200):
            for level in ("INFO", "ERROR"):
                add_log(conn, owner, at_day(days), f"{level} {days}", level)
        maintenance.set_retention(DEFAULT_RETENTION)
        assert maintenance.inspect().retention.overdue == 2
        assert retain(empty_dsn, None, lambda: True, schema=schema)
        assert kept(conn).logs == ["ERROR 40"]
        found = maintenance.inspect()
        assert found.schema_trouble is None
        assert found.retention.overdue == 0
        assert found.retention.last_run_at is not None
        assert {one.name for one in found.sizes} >= {*TABLES, "experiments"}
        assert found.indexes
        assert found.dead
        assert maintenance.pin(owner, is_pinned=True)
        assert maintenance.recreate() == [file.name for file in open_sql().migrations()]
        assert kept(conn).experiments == set()
    maintenance.close()
