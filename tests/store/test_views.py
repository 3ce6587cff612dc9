"""The views: what failed lately, how far each experiment is, and whether those that run are alive."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.health import derive_health
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, node
from tests.fixtures.scans import add_partitions, planned

S = 1_000_000_000
OTHER_ID = "22222222-2222-4333-8444-555555555555"


@pytest.fixture
def shipper(dsn: str) -> Iterator[Shipper]:
    sink = PostgresSink(dsn)
    yield Shipper(sink)
    sink.close()


def ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * S)


def test_errors_of_the_last_days(conn, shipper):
    """Newest first, of the last seven days, with the experiment's name and the stage; others are left out."""
    shipper.ship(
        experiment(),
        log("old", level="ERROR", timestamp=ago(8 * 86_400)),
        log("first", level="ERROR", timestamp=ago(6 * 86_400), node_id="p/load/x"),
        log("last", level="CRITICAL", timestamp=ago(1), experiment_id=OTHER_ID),
        log("fine", level="WARNING", timestamp=ago(1)),
    )
    query = (
        "select message, experiment_name, stage, level, fingerprint is not null from recent_experiment_errors"
    )
    assert conn.execute(query).fetchall() == [
        ("last", OTHER_ID, None, "CRITICAL", True), ("first", "train", "load", "ERROR", True),
    ]  # fmt: skip
    assert (
        conn.execute(f"{query} where experiment_id = %s limit 1", (EXPERIMENT_ID,)).fetchone()[0] == "first"
    )


def test_recent_errors_need_the_partitions_of_a_week(conn, shipper):
    """Older partitions are not looked at."""
    today = datetime.now(timezone.utc).date()
    add_partitions(conn, "pipeline_logs", today - timedelta(days=30), 29)
    found = planned(conn, "select * from recent_experiment_errors limit 10")
    partitions = {name for name in found if name.startswith("pipeline_logs_p")}
    assert min(partitions) >= f"pipeline_logs_p{today - timedelta(days=7):%Y%m%d}"


def test_summary_of_experiments(conn, shipper):
    """One row for each: percent of its root, nodes by status, errors, times and the latest sign of life."""
    shipper.ship(
        experiment(started_at=ago(100)),
        node("p"), node("p/a", "p", status="completed"), node("p/b", "p", status="failed"),
        node("p/c", "p", status="pending", start_time=None), node("p/d", "p", status="cancelled"),
        job(str(uuid.uuid4()), heartbeat_at=ago(50)), job(str(uuid.uuid4()), heartbeat_at=ago(5)),
        log("e", level="ERROR"),
        experiment(OTHER_ID, name="done", status="completed", started_at=ago(100), ended_at=ago(40)),
    )  # fmt: skip
    columns = (
        "experiment_name, status, progress_percent, nodes_total, nodes_pending, nodes_running, nodes_completed, "
        "nodes_failed, nodes_cancelled, error_count"
    )
    query = f"select {columns} from experiment_progress_summary where experiment_id = %s"
    assert conn.execute(query, (EXPERIMENT_ID,)).fetchone() == ("train", "running", 75, 5, 1, 1, 1, 1, 1, 1)
    assert conn.execute(query, (OTHER_ID,)).fetchone() == ("done", "completed", 100, 0, 0, 0, 0, 0, 0, 0)
    rows = conn.execute(
        "select duration_s, extract(epoch from now() - heartbeat_at) from experiment_progress_summary order by 1"
    ).fetchall()
    assert rows[0] == (pytest.approx(60, abs=0.01), None)
    assert rows[1][0] == pytest.approx(100, abs=30)
    assert 4 < rows[1][1] < 40


def test_only_what_is_not_over_is_monitored(conn, shipper):
    """Running and pending experiments with phase, percent and jobs; an ended one is left out."""
    shipper.ship(
        experiment(started_at=ago(100)),
        node("p"),
        node("p/a", "p", node_level="phase", status="completed"),
        node("p/b", "p", node_level="phase", start_time=ago(9), completed_units=1, total_units=2),
        job(str(uuid.uuid4()), heartbeat_at=ago(1), progress_at=ago(700)),
        experiment(OTHER_ID, status="failed"),
    )
    columns = "experiment_name, health, current_phase, progress_percent, jobs_alive, jobs_total"
    ((row),) = conn.execute(f"select {columns} from active_pipeline_monitoring").fetchall()
    assert row == ("train", "stalled", "b", 75, 1, 1)
    ((heartbeat_s, progress_s),) = conn.execute(
        "select seconds_since_heartbeat, seconds_since_progress from active_pipeline_monitoring"
    )
    assert 1 <= heartbeat_s < 60
    assert 700 <= progress_s < 760


JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "attempt": st.integers(1, 2),
            "status": st.sampled_from(["running", "completed", "failed", "cancelled"]),
            "cause": st.sampled_from([None, "oom"]),
            "heartbeat_at": st.sampled_from([1, 3_000]),
            "progress_at": st.sampled_from([1, 3_000]),
            "ended_at": st.sampled_from([None, 1, 3_000]),
        }
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS, created_ago_s=st.sampled_from([0, 3_000]))
def test_sql_and_python_agree_on_health(conn, dsn, jobs, created_ago_s):
    """The view's word is the one that Python derives without looking at processes."""
    conn.execute("delete from experiments")
    sink = PostgresSink(dsn)
    rows = []
    for changes in jobs:
        times = {name: value and ago(value) for name, value in changes.items() if name.endswith("_at")}
        rows.append(job(str(uuid.uuid4()), **{**changes, **times}))
    Shipper(sink).ship(experiment(), *rows)
    sink.close()
    conn.execute("update experiments set created_at = now() - %s * interval '1 s'", (created_ago_s,))
    source = PostgresSource(dsn)
    (known,) = source.experiments(limit=1)
    expected = derive_health(known, source.jobs(EXPERIMENT_ID), datetime.now(timezone.utc), {})
    source.close()
    assert conn.execute("select health from active_pipeline_monitoring").fetchone() == (expected.word,)
