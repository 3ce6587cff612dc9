"""Logs and errors by the functions that people call from psql."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from pipespan.model.fingerprint import fingerprint
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import EXPERIMENT_ID, MOMENT_UNIX_NS, Shipper, experiment, log, node
from tests.fixtures.scans import add_partitions, planned, scans

S = 1_000_000_000
DAY = 86_400 * S
MOMENT = datetime(2025, 10, 9, 8, 53, 20, tzinfo=timezone.utc)
FIRST_DAY = MOMENT.date()


@pytest.fixture
def shipper(dsn: str) -> Iterator[Shipper]:
    sink = PostgresSink(dsn)
    yield Shipper(sink)
    sink.close()


def messages(conn, arguments="", values=(), experiment_id=EXPERIMENT_ID):
    query = f"select message from get_experiment_logs(%s{', ' if arguments else ''}{arguments})"
    return [message for (message,) in conn.execute(query, (experiment_id, *values))]


def error(message, at=0, **changes):
    return log(message, level="ERROR", severity_number=17, timestamp=MOMENT_UNIX_NS + at * S, **changes)


def test_level_means_at_least(conn, shipper):
    """A level takes in all above it, in any case of letters; an unknown one is refused in words."""
    levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    shipper.ship(*(log(level, level=level, timestamp=MOMENT_UNIX_NS + at) for at, level in enumerate(levels)))
    assert messages(conn) == levels
    assert messages(conn, "'warning'") == levels[2:]
    assert messages(conn, "p_level => 'DEBUG'") == levels
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unknown level 'LOUD'; use one of DEBUG"):
        messages(conn, "'LOUD'")


def test_search_is_literal(conn, shipper):
    """No character of the text is a pattern; message and traceback are searched in any case of letters."""
    texts = ["100% done", "100 done", "a_b", "axb", "back\\slash", "Ünï", "quote ' and \""]
    shipper.ship(*(log(text) for text in texts), log("trace", traceback="Boom at 7"))
    for text, expected in {
        "%": ["100% done"],
        "_": ["a_b"],
        "\\": ["back\\slash"],
        "Ün": ["Ünï"],
        "' and \"": ["quote ' and \""],
        "bOOM": ["trace"],
        "100": ["100% done", "100 done"],
        "": [*texts, "trace"],
        "x" * 1_000_000: [],
        "%" * 1_000_000: [],
        "\\" * 1_000_001: [],
    }.items():
        assert messages(conn, "p_search => %s", (text,)) == expected
    with pytest.raises(psycopg.DataError, match="NUL"):
        messages(conn, "p_search => %s", ("a\x00b",))


def test_a_node_takes_in_all_below_it(conn, shipper):
    """By the tree, and by the path for records that came before their node."""
    shipper.ship(
        experiment(),
        node("p"), node("p/a", "p"), node("elsewhere", "p/a"),
        *(log(node_id or "-", node_id=node_id) for node_id in ("p", "p/a", "p/a/x", "elsewhere", "p/ab", None)),
    )  # fmt: skip
    assert messages(conn, "p_node => 'p/a'") == ["p/a", "p/a/x", "elsewhere"]
    assert messages(conn, "p_node => %s", ("p/%",)) == messages(conn, "p_node => ''") == []


def test_cursor_and_stretch_of_time(conn, shipper):
    """`p_after` gives the oldest after it by id; `p_since` is inclusive, `p_until` exclusive."""
    shipper.ship(*(log(f"m{at}", timestamp=MOMENT_UNIX_NS - at * DAY) for at in range(6)))
    assert messages(conn, "p_limit => 2") == ["m1", "m0"]
    ids = dict(conn.execute("select message, id from pipeline_logs").fetchall())
    assert messages(conn, "p_after => %s, p_limit => 2", (ids["m1"],)) == ["m2", "m3"]
    moments = dict(conn.execute("select message, timestamp from pipeline_logs").fetchall())
    assert messages(conn, "p_since => %s, p_until => %s", (moments["m3"], moments["m1"])) == ["m3", "m2"]
    assert messages(conn, "p_until => '-infinity'") == messages(conn, "p_since => 'infinity'") == []
    assert len(messages(conn, "p_since => '-infinity', p_until => 'infinity', p_limit => null")) == 6
    assert messages(conn, "p_limit => 0") == messages(conn, "p_limit => -5") == []


def test_unknown_experiment(conn):
    """Nothing, and no error."""
    unknown = str(uuid.uuid4())
    assert messages(conn, experiment_id=unknown) == []
    assert conn.execute("select * from get_log_histogram(%s)", (unknown,)).fetchall() == []
    ((summary,),) = conn.execute("select get_error_summary(%s)", (unknown,)).fetchall()
    assert summary == {"total": 0, "by_stage": [], "by_fingerprint": [], "recent": []}


def test_rows_of_wrong_clocks_are_found(conn, shipper):
    """Rows far outside of the experiment's own times, ancient, future and late, are in their place of time."""
    shipper.ship(
        experiment(status="completed", ended_at=MOMENT_UNIX_NS + S),
        log("now"),
        log("future", timestamp=4_000_000_000 * S),
        log("ancient", timestamp=-30_000_000_000 * S),
        log("week", timestamp=MOMENT_UNIX_NS + 7 * DAY),
    )
    assert messages(conn) == ["ancient", "now", "week", "future"]
    assert messages(conn, "p_limit => 2") == ["week", "future"]
    shipper.ship(log("late", timestamp=MOMENT_UNIX_NS - S))
    assert messages(conn) == ["ancient", "late", "now", "week", "future"]


def test_the_newest_logs_need_one_partition(conn, shipper):
    """However many days an experiment and the tables have, the newest rows come from the newest days by index."""
    add_partitions(conn, "pipeline_logs", FIRST_DAY - timedelta(days=60), 70)
    other = str(uuid.uuid4())
    shipper.ship(
        *(log(f"m{at}", timestamp=MOMENT_UNIX_NS - at * DAY // 10, level="ERROR") for at in range(300)),
        *(log("other", experiment_id=other, timestamp=MOMENT_UNIX_NS + at * DAY) for at in (-60, 8)),
    )
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message) "
        "select gen_random_uuid(), %s::date::timestamptz, 'INFO', 9, 'l', repeat('m', 100) "
        "from generate_series(1, 5000)",
        (FIRST_DAY,),
    )
    conn.execute("analyze")
    today = f"pipeline_logs_p{FIRST_DAY:%Y%m%d}"
    query = "select * from get_experiment_logs(%s, p_limit => 3)"
    assert scans(conn, query, (EXPERIMENT_ID,)) == {today: "index"}
    query = "select * from get_experiment_logs(%s, p_level => 'ERROR', p_limit => 20)"
    assert len(scans(conn, query, (EXPERIMENT_ID,))) == 3
    assert len(scans(conn, "select * from get_experiment_logs(%s, p_search => 'no')", (EXPERIMENT_ID,))) == 31
    query = "select * from get_experiment_logs(%s, p_after => 299)"
    assert len(scans(conn, query, (EXPERIMENT_ID,))) == 31
    for query in ("select get_error_summary(%s)", "select * from get_log_histogram(%s)"):
        assert len(scans(conn, query, (EXPERIMENT_ID,))) == 31
        assert set(scans(conn, query, (other,))) >= {f"pipeline_logs_p{FIRST_DAY + timedelta(days=8):%Y%m%d}"}
    # days between rows that are far apart are left out
    found = scans(conn, "select * from get_experiment_logs(%s)", (other,))
    assert sorted(found) == [f"pipeline_logs_p{FIRST_DAY + timedelta(days=days):%Y%m%d}" for days in (-60, 8)]


def test_a_stretch_of_time_needs_its_partitions(conn, shipper):
    """A question with bounds is answered from the days between them."""
    add_partitions(conn, "pipeline_logs", FIRST_DAY - timedelta(days=20), 25)
    shipper.ship(*(log(f"m{at}", timestamp=MOMENT_UNIX_NS - at * DAY) for at in range(20)))
    query = "select * from get_experiment_logs(%s, p_since => %s, p_until => %s)"
    values = (EXPERIMENT_ID, MOMENT - timedelta(days=5), MOMENT - timedelta(days=3))
    assert len(scans(conn, query, values)) == 3
    view = "select * from recent_experiment_errors where experiment_id = %s"
    assert not planned(conn, view, (EXPERIMENT_ID,)) & {f"pipeline_logs_p{FIRST_DAY:%Y%m%d}"}


def test_days_are_kept_however_rows_come(conn, shipper):
    """Each day of each table is noted once, by COPY and by INSERT, and what is rolled back is not."""
    shipper.ship(*(log(timestamp=MOMENT_UNIX_NS + at * S) for at in range(10)))
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message) "
        "values (%s, '2030-01-01 23:59:59.999999+00', 'INFO', 9, 'l', 'm')",
        (EXPERIMENT_ID,),
    )
    with pytest.raises(psycopg.Error), conn.transaction():
        conn.execute(
            "insert into pipeline_metrics (experiment_id, timestamp) values (%s, now())", (EXPERIMENT_ID,)
        )
        conn.execute("select 1 / 0")
    found = conn.execute("select table_name, day::text from pipespan_days order by 1, 2").fetchall()
    assert found == [("pipeline_logs", "2025-10-09"), ("pipeline_logs", "2030-01-01")]


def test_histogram(conn, shipper):
    """Records by level and minute, or any other stretch; an impossible one is refused in words."""
    shipper.ship(*(error("e", at) for at in (0, 1, 39, 40)), log("i"))
    found = conn.execute("select * from get_log_histogram(%s)", (EXPERIMENT_ID,)).fetchall()
    minute = MOMENT.replace(second=0)
    assert found == [(minute, "ERROR", 3), (minute, "INFO", 1), (minute + timedelta(minutes=1), "ERROR", 1)]
    found = conn.execute("select sum(records) from get_log_histogram(%s, 0.5)", (EXPERIMENT_ID,)).fetchall()
    assert found == [(5,)]
    for bucket in (0, -1, "NaN", None):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="give seconds above 0"):
            conn.execute("select * from get_log_histogram(%s, %s)", (EXPERIMENT_ID, bucket))


def test_error_summary(conn, shipper):
    """Totals, stages, kinds with first and last seen, and the newest 20, most frequent or newest first."""
    shipper.ship(
        experiment(),
        *(error(f"bad {at}\nmore", at, node_id="p/load/x", error_type="ValueError") for at in range(30)),
        error("root", 100, node_id="p"),
        error("end", 101, node_id="p/save"),
        log("fine", level="WARNING"),
    )
    ((summary,),) = conn.execute("select get_error_summary(%s)", (EXPERIMENT_ID,)).fetchall()
    assert summary["total"] == 32
    assert summary["by_stage"] == [
        {"stage": "load", "count": 30},
        {"stage": "save", "count": 1},
        {"stage": None, "count": 1},
    ]
    kind = summary["by_fingerprint"][0]
    assert (kind["count"], kind["stage"], kind["error_type"], kind["message"]) == (
        30,
        "load",
        "ValueError",
        "bad 29",
    )
    assert kind["fingerprint"] == fingerprint("ValueError", "bad 1", None)
    first, last = (datetime.fromisoformat(kind[name]) for name in ("first_seen", "last_seen"))
    assert last - first == timedelta(seconds=29)
    assert kind["last_log_id"] - kind["first_log_id"] == 29
    assert [one["message"] for one in summary["recent"]] == [
        "end",
        "root",
        *(f"bad {at}" for at in range(29, 11, -1)),
    ]


def test_a_table_of_the_callers_is_not_read(conn, shipper):
    """A function that acts for its owner does not look among the caller's temporary tables."""
    shipper.ship(log("real"))
    conn.execute("create temporary table pipeline_logs (like public.pipeline_logs)")
    conn.execute("create temporary table pipespan_days (like public.pipespan_days)")
    assert messages(conn) == ["real"]


def test_a_reader_needs_no_rights_on_tables(conn, shipper):
    """A role that may execute functions and read views can use them all; by default nobody else may."""
    shipper.ship(experiment(), node("p"), error("e"))
    role = f"reader_{uuid.uuid4().hex}"
    conn.execute(f"create role {role}")
    try:
        conn.execute(f"set role {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            messages(conn)
        conn.execute("reset role")
        conn.execute(f"grant execute on all functions in schema public to {role}")
        views = ("recent_experiment_errors", "experiment_progress_summary", "active_pipeline_monitoring")
        conn.execute(f"grant select on {', '.join(views)} to {role}")
        conn.execute(f"set role {role}")
        assert messages(conn) == ["e"]
        for name in (
            "get_progress_tree",
            "get_error_summary",
            "get_log_histogram",
            "get_resource_timeline",
            "get_node_throughput",
        ):
            conn.execute(f"select * from {name}(%s)", (EXPERIMENT_ID,)).fetchall()
        for name in ("get_phase_history", "get_phase_trends"):
            conn.execute(f"select * from {name}('train')").fetchall()
        for view in views:
            conn.execute(f"select * from {view}").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from pipeline_logs")
    finally:
        conn.execute("reset role")
        conn.execute(f"drop owned by {role}")
        conn.execute(f"drop role {role}")
