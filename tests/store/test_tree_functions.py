"""Trees, history and resources by the functions that people call from psql."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.records import NodeRecord
from pipespan.model.tree import TreeNode, build_forest
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import EXPERIMENT_ID, MOMENT_UNIX_NS, Shipper, experiment, log, metric, node

S = 1_000_000_000
MOMENT = datetime(2025, 10, 9, 8, 53, 20, 123456, tzinfo=timezone.utc)


@pytest.fixture
def shipper(dsn: str) -> Iterator[Shipper]:
    sink = PostgresSink(dsn)
    yield Shipper(sink)
    sink.close()


def tree(conn, columns="node_id, depth", depth=None, experiment_id=EXPERIMENT_ID):
    query = f"select {columns} from get_progress_tree(%s, %s)"
    return conn.execute(query, (experiment_id, depth)).fetchall()


def test_a_tree_in_the_order_of_a_display(conn, shipper):
    """Depth first, siblings by start, unstarted ones last, with path, position, own errors and duration."""
    shipper.ship(
        experiment(),
        node("p", end_time=MOMENT_UNIX_NS + 90 * S, status="completed"),
        node("p/late", "p", start_time=MOMENT_UNIX_NS + 2 * S),
        node("p/planned", "p", status="pending", start_time=None),
        node("p/early", "p", start_time=MOMENT_UNIX_NS + S, end_time=MOMENT_UNIX_NS + 3 * S, status="failed"),
        node("p/late/x", "p/late", completed_units=1, total_units=4, metadata={"k": 1}, message="hi"),
        log("e", level="ERROR", node_id="p/early"), log("e", level="CRITICAL", node_id="p/early"),
    )  # fmt: skip
    assert tree(conn, 'node_id, depth, "position", path, error_count') == [
        ("p", 0, 1, ["p"], 0),
        ("p/early", 1, 2, ["p", "p/early"], 2),
        ("p/late", 1, 3, ["p", "p/late"], 0),
        ("p/late/x", 2, 4, ["p", "p/late", "p/late/x"], 0),
        ("p/planned", 1, 5, ["p", "p/planned"], 0),
    ]
    assert tree(conn, "progress_percent, completed_units, total_units, metadata, message, attempt")[3] == (
        25, 1, 4, {"k": 1}, "hi", 1,
    )  # fmt: skip
    durations = dict(tree(conn, "node_id, duration_s"))
    assert (durations["p"], durations["p/early"], durations["p/planned"]) == (90, 2, None)
    assert durations["p/late"] > 1000
    assert [node_id for node_id, _ in tree(conn, depth=2)] == ["p", "p/early", "p/late", "p/planned"]
    assert tree(conn, depth=1) == [("p", 0)]
    assert tree(conn, depth=0) == tree(conn, depth=-1) == tree(conn, experiment_id=uuid.uuid4()) == []


def test_lost_parents_and_cycles(conn, shipper):
    """Every node is there once: under a root where its parent is missing, and where parents go round."""
    shipper.ship(
        experiment(),
        node("b", "c"), node("c", "a"), node("a", "b"), node("under", "c"),
        node("self", "self"), node("orphan", "gone"), node("child", "orphan"), node("root"),
    )  # fmt: skip
    found = tree(conn)
    assert found == [
        ("self", 0), ("orphan", 0), ("child", 1), ("root", 0),
        ("b", 0), ("a", 1), ("c", 2), ("under", 3),
    ]  # fmt: skip
    assert tree(conn, depth=1) == [("root", 0)]
    conn.execute("delete from pipeline_progress where node_id in ('root', 'self', 'orphan', 'child')")
    assert tree(conn, depth=2) == [("b", 0), ("a", 1)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parents=st.lists(st.integers(-1, 12), max_size=12),
    starts=st.lists(st.none() | st.integers(0, 3), min_size=12, max_size=12),
)
def test_sql_and_python_build_one_forest(conn, dsn, parents, starts):
    """Whatever the parents are, both show every node once, at the same depth and below the same node."""
    conn.execute("delete from pipeline_progress")
    conn.execute("insert into experiments (id) values (%s) on conflict do nothing", (EXPERIMENT_ID,))
    for number, parent in enumerate(parents):
        conn.execute(
            "insert into pipeline_progress "
            "(experiment_id, node_id, node_level, parent_id, node_name, status, start_time) "
            "values (%s, %s, 'step', %s, 'n', 'running', to_timestamp(%s))",
            (EXPERIMENT_ID, str(number), None if parent < 0 else str(parent), starts[number]),
        )
    source = PostgresSource(dsn)
    records = source.nodes(EXPERIMENT_ID)
    source.close()
    expected = []
    waiting: list[tuple[TreeNode[NodeRecord], list[str]]] = [(root, []) for root in build_forest(records)]
    while waiting:
        part, path = waiting.pop()
        path = [*path, part.record.node_id]
        expected.append((part.record.node_id, part.depth, path))
        waiting += [(child, path) for child in part.children]
    found = tree(conn, "node_id, depth, path")
    assert sorted(found) == sorted(expected)
    assert [row[0] for row in tree(conn, 'node_id, "position"')] == [row[0] for row in found]


def test_a_deep_tree(conn, shipper):
    """200 levels are shown as they are; a chain without end is continued as trees of 256 levels."""
    shipper.ship(
        experiment(), *(node(str(number), str(number - 1) if number else None) for number in range(200))
    )
    assert tree(conn) == [(str(number), number) for number in range(200)]
    shipper.ship(*(node(str(number), str(number - 1)) for number in range(200, 700)))
    found = tree(conn)
    assert [node_id for node_id, _ in found] == [str(number) for number in range(700)]
    assert [depth for _, depth in found] == [number % 256 for number in range(700)]


def test_odd_times_sort(conn, shipper):
    """Ancient, future and infinite starts are in order."""
    shipper.ship(
        experiment(),
        node("p"),
        *(node(f"p/{at}", "p", start_time=at * S) for at in (5, -40_000_000_000, 4_000_000_000)),
    )
    conn.execute("update pipeline_progress set start_time = 'infinity' where node_id = 'p/5'")
    assert [node_id for node_id, _ in tree(conn)] == ["p", "p/-40000000000", "p/4000000000", "p/5"]


def test_ten_thousand_nodes_are_quick(conn):
    """A wide tree is shown in time that follows the number of its nodes."""
    conn.execute("insert into experiments (id) values (%s)", (EXPERIMENT_ID,))
    conn.execute(
        "insert into pipeline_progress "
        "(experiment_id, node_id, node_level, parent_id, node_name, status, start_time) "
        "select %s, case when n = 0 then 'p' else 'p/' || n end, 'step', case when n > 0 then 'p' end, "
        "'n', 'running', now() "
        "from generate_series(0, 10000) as n",
        (EXPERIMENT_ID,),
    )
    conn.execute("set statement_timeout = '5s'")
    assert len(tree(conn)) == 10_001


def run_of(number: int, **resources: object):
    """Return the rows of one run of pipeline `train` with a phase that took `number` seconds."""
    experiment_id = str(uuid.UUID(int=number))
    start = MOMENT_UNIX_NS + number * 1000 * S
    told = {"resources": resources} if resources else {}
    return [
        experiment(experiment_id, started_at=start, status="completed", ended_at=start + number * S),
        node("train", experiment_id=experiment_id, status="completed", start_time=start, end_time=start + number * S),
        node(
            "train/fit", "train", experiment_id=experiment_id, node_level="phase", status="completed",
            start_time=start, end_time=start + number * S, completed_units=number * 10, metadata=told,
        ),
        node("train/fit/x", "train/fit", experiment_id=experiment_id, start_time=start),
        *(log("e", experiment_id=experiment_id, level="ERROR", node_id="train/fit/x") for _ in range(number % 2)),
    ]  # fmt: skip


def test_history_of_a_phase(conn, shipper):
    """The newest runs first, with time, memory, CPU, throughput and errors of the phase and all below it."""
    for number in range(1, 5):
        shipper.ship(*run_of(number, memory_peak_bytes=number * 1_000_000, cpu_ns=number * 500_000_000))
    shipper.ship(experiment(str(uuid.uuid4()), name="other"))
    query = "select duration_s, peak_memory_mb, cpu_s, completed_units, throughput_per_s, error_count from "
    found = conn.execute(f"{query} get_phase_history('train', null, 3)").fetchall()
    assert found == [(4, 4, 2, 40, 10, 0), (3, 3, 1.5, 30, 10, 1), (2, 2, 1, 20, 10, 0)]
    assert conn.execute(f"{query} get_phase_history('train', 'fit', 3)").fetchall() == found
    assert conn.execute(f"{query} get_phase_history('train', 'train/fit', 3)").fetchall() == found
    (row,) = conn.execute(
        "select node_id, node_level, status, experiment_name from get_phase_history('train', 'train', 1)"
    )
    assert row == ("train", "step" if row[1] == "step" else "pipeline", "completed", "train")
    for nothing in (
        "get_phase_history('no')",
        "get_phase_history('train', 'no')",
        "get_phase_history('train', null, 0)",
    ):
        assert conn.execute(f"select * from {nothing}").fetchall() == []


def test_trends_of_a_phase(conn, shipper):
    """Least, mean, median, 90th percentile and most of the last runs, oldest first; running ones tell no time."""
    for number in range(1, 6):
        shipper.ship(*run_of(number, memory_peak_bytes=number * 1_000_000))
    failed = run_of(6)
    shipper.ship(*failed[:2], failed[2]._replace(status="failed"))
    found = {
        measure: rest
        for _, measure, *rest in conn.execute("select * from get_phase_trends('train', null, 5)")
    }
    assert found["duration_s"] == [4, 2, 3.5, 3.5, 4.7, 5, [2, 3, 4, 5]]
    assert found["peak_memory_mb"][-1] == [2, 3, 4, 5]
    assert found["errors"][-1] == [0, 1, 0, 1, 0]
    assert "cpu_s" not in found


def test_metadata_of_others_is_no_figure(conn, shipper):
    """Metadata that only looks like resources gives nothing, and no error."""
    shipper.ship(*run_of(1, memory_peak_bytes="much", cpu_ns=[1]))
    assert conn.execute("select peak_memory_mb, cpu_s from get_phase_history('train')").fetchall() == [
        (None, None)
    ]


def test_timeline_of_resources(conn, shipper):
    """Samples of each job in stretches of equal length: most memory, mean CPU; a node takes in all below it."""
    job_id = str(uuid.uuid4())
    shipper.ship(
        *(
            metric(
                job_id=job_id, timestamp=MOMENT_UNIX_NS + at * S, memory_mb=float(at), cpu_percent=float(at % 10),
                node_id="p/a/x" if at < 50 else "p/b",
            )
            for at in range(101)
        )
    )  # fmt: skip
    query = "select bucket_start, samples, memory_mb, cpu_percent from get_resource_timeline(%s, %s, %s)"
    found = conn.execute(query, (EXPERIMENT_ID, 10, None)).fetchall()
    assert len(found) == 10
    assert found[0] == (MOMENT, 10, 9, 4.5)
    assert found[9][1:3] == (11, 100)
    assert sum(row[1] for row in conn.execute(query, (EXPERIMENT_ID, 7, "p/a")).fetchall()) == 50
    assert len(conn.execute(query, (EXPERIMENT_ID, 1_000, None)).fetchall()) == 101
    assert conn.execute(query, (EXPERIMENT_ID, 10, "none")).fetchall() == []
    assert conn.execute(query, (uuid.uuid4(), 10, None)).fetchall() == []
    with pytest.raises(
        psycopg.errors.InvalidParameterValue, match="0 points are not possible; give at least 1"
    ):
        conn.execute(query, (EXPERIMENT_ID, 0, None))


def test_a_timeline_of_one_instant(conn, shipper):
    """One sample, or several at the same time, are one stretch."""
    shipper.ship(metric(), metric())
    found = conn.execute(
        "select bucket_start, samples from get_resource_timeline(%s)", (EXPERIMENT_ID,)
    ).fetchall()
    assert found == [(MOMENT, 2)]


def test_throughput_of_nodes(conn, shipper):
    """Units a second of the nodes that count any; one that took no time has none."""
    shipper.ship(
        experiment(),
        node("p"),
        node(
            "p/a", "p", completed_units=30, unit="files", status="completed", end_time=MOMENT_UNIX_NS + 10 * S
        ),
        node("p/b", "p", completed_units=5, status="completed", end_time=MOMENT_UNIX_NS),
    )
    assert conn.execute("select * from get_node_throughput(%s)", (EXPERIMENT_ID,)).fetchall() == [
        ("p/a", 30, "files", 10, 3), ("p/b", 5, None, 0, None),
    ]  # fmt: skip


def test_what_a_program_records(tmp_path, dsn, conn):
    """The functions find what a real program has written: memory, CPU, units and errors."""
    code = """
import pipespan, logging
with pipespan.pipeline("real") as run:
    with run.phase("load") as load:
        for _ in load.track(range(10), unit="files"):
            pass
        logging.getLogger("x").error("no %d", 3)
assert pipespan.flush()
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))}
    environment = {**kept, "PIPESPAN_DSN": dsn, "PIPESPAN_STATE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "no 3\n")
    (row,) = conn.execute(
        "select node_id, status, peak_memory_mb > 1, cpu_s >= 0, completed_units, error_count "
        "from get_phase_history('real')"
    )
    assert row == ("real/load", "completed", True, True, 10, 1)
    ((experiment_id, percent, errors),) = conn.execute(
        "select experiment_id, progress_percent, error_count from experiment_progress_summary"
    )
    assert (percent, errors) == (100, 1)
    assert [depth for _, depth in tree(conn, experiment_id=experiment_id)] == [0, 1]
    assert timedelta(0) < timedelta(seconds=tree(conn, "duration_s", experiment_id=experiment_id)[0][0])
