"""Partitions: of the size that is set, made ahead, and a default one that is watched."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime, timezone

import pytest

from pipespan.store.postgres.write import STRAYS_INTERVAL_S, PostgresSink
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, event, experiment, log


def set_size(conn: Connection, size: str, *, anew: bool = True) -> None:
    if anew:
        for (name,) in conn.execute(
            "select partition from pipespan_partitions_v1() where starts_at is not null"
        ):
            conn.execute(f"drop table {name}")
    conn.execute("update pipespan_settings set value = %s where name = 'partition_size'", (size,))


def ensure(conn: Connection, days: int = 7) -> int:
    row = conn.execute("select pipespan_ensure_partitions_v1(%s)", (days,)).fetchone()
    assert row is not None
    return int(row[0])


def default_rows(conn: Connection) -> dict[str, int]:
    return dict(conn.execute("select * from pipespan_default_rows_v1()").fetchall())


def gaps_and_overlaps(conn: Connection) -> int:
    row = conn.execute(
        "select count(*) from (select starts_at, lag(ends_at) over (partition by parent order by starts_at) as before"
        " from pipespan_partitions_v1() where starts_at is not null) as pairs where before <> starts_at"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_who_is_looked_after_makes_none_for_an_hour(conn: Connection, dsn: str) -> None:
    """A worker leaves them to the process that it came from, and does it itself when it lives on."""
    now = [0.0]
    set_size(conn, "day")
    with closing(PostgresSink(dsn, is_looked_after=True, clock_s=lambda: now[0])) as sink:
        shipper = Shipper(sink)
        shipper.ship(experiment(), log("one"))
        assert default_rows(conn)["pipeline_logs"] == 1
        now[0] = 3601.0
        shipper.ship(log("two", timestamp=time.time_ns() + 2 * 86_400 * 10**9))
    assert default_rows(conn)["pipeline_logs"] == 1
    assert gaps_and_overlaps(conn) == 0


@pytest.mark.parametrize(
    ("size", "least", "most"), [("hour", 78, 78), ("day", 27, 27), ("week", 6, 9), ("month", 3, 6)]
)
def test_partitions_have_the_size_that_is_set(conn: Connection, size: str, least: int, most: int) -> None:
    """From yesterday to a week ahead every moment has one, by hours to a day ahead, for each of the three tables."""
    set_size(conn, size)
    assert least <= ensure(conn) <= most
    assert ensure(conn) == 0
    assert gaps_and_overlaps(conn) == 0
    covered = conn.execute(
        "select parent, min(starts_at) <= now() - %s::interval, max(ends_at) >= now() + %s::interval"
        " from pipespan_partitions_v1() group by parent",
        ("1 hour", "1 day") if size == "hour" else ("1 day", "7 days"),
    ).fetchall()
    assert sorted(covered) == [
        (name, True, True) for name in ("pipeline_events", "pipeline_logs", "pipeline_metrics")
    ]


@pytest.mark.parametrize(
    ("before", "after"), [("day", "month"), ("day", "week"), ("month", "day"), ("week", "hour")]
)
def test_another_size_fits_between_what_exists(conn: Connection, before: str, after: str) -> None:
    """Partitions of the size before stay; the new ones leave neither a gap nor overlap them."""
    set_size(conn, before)
    ensure(conn)
    set_size(conn, after, anew=False)
    ensure(conn, 60)
    assert gaps_and_overlaps(conn) == 0


def test_rows_of_the_default_partition_are_counted_and_moved_in(dsn: str, conn: Connection) -> None:
    """Rows that came before their partition get one when asked for; those of a clock that jumped stay."""
    set_size(conn, "day")
    now = int(datetime.now(timezone.utc).timestamp()) * 10**9
    far = int(datetime(2200, 1, 1, tzinfo=timezone.utc).timestamp()) * 10**9
    conn.execute(
        "insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message)"
        " values (%s, now(), 'INFO', 9, '', 'early')",
        (EXPERIMENT_ID,),
    )
    sink = PostgresSink(dsn)
    Shipper(sink).ship(*(log(str(n), timestamp=now) for n in range(5)), log("far", timestamp=far), event())
    sink.close()
    assert default_rows(conn) == {"pipeline_logs": 7, "pipeline_events": 1, "pipeline_metrics": 0}
    ids = conn.execute("select id from pipeline_logs order by id").fetchall()
    moved = conn.execute("select pipespan_move_default_rows_v1(100000)").fetchone()
    assert moved == (7,)
    assert default_rows(conn) == {"pipeline_logs": 1, "pipeline_events": 0, "pipeline_metrics": 0}
    assert conn.execute("select id from pipeline_logs order by id").fetchall() == ids
    assert conn.execute("select pipespan_move_default_rows_v1()").fetchone() == (0,)
    indexes = conn.execute(
        "select count(distinct cardinality(array(select indexrelid from pg_index where indrelid = inhrelid)))"
        " from pg_inherits where inhparent = 'pipeline_logs'::regclass"
    ).fetchone()
    assert indexes == (1,)


def test_an_unknown_size_is_refused(conn: Connection) -> None:
    """The setting takes what partitions can be made by."""
    with pytest.raises(Exception, match="partition_size"):
        set_size(conn, "fortnight", anew=False)


def test_rows_that_go_into_a_default_partition_are_noticed(dsn: str) -> None:
    """Those that come while a process ships, not those that were there before it; looked for now and then."""
    now_s = [0.0]
    sink = PostgresSink(dsn, clock_s=lambda: now_s[0])
    shipper = Shipper(sink)
    far = int(datetime(2001, 1, 1, tzinfo=timezone.utc).timestamp() * 1e9)
    shipper.ship(experiment(), log("before", timestamp=far))
    again = PostgresSink(dsn, clock_s=lambda: now_s[0])
    shipper_again = Shipper(again)
    shipper_again.ship(experiment(), log("now", timestamp=time.time_ns()))
    assert again.stray_rows == 0
    shipper_again.ship(log("far off", timestamp=far))
    shipper_again.ship(log("now", timestamp=time.time_ns()))
    assert again.stray_rows == 0
    now_s[0] = STRAYS_INTERVAL_S
    shipper_again.ship(log("now", timestamp=time.time_ns()))
    assert again.stray_rows == 1
    sink.close()
    again.close()
