"""Trees of odd shapes: many children under one parent, parents that are missing or go round, deep ones; and repair."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipespan.model.status import STATUSES, Status
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import Connection
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, node

MILLION = 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_children_under_one_parent(dsn: str, conn: Connection) -> None:
    """A change of one child costs the same as among ten, and a parent that comes last has its sums in seconds."""
    conn.execute("insert into experiments (id) values (%s)", (EXPERIMENT_ID,))
    conn.execute("alter table pipeline_progress disable trigger user")
    conn.execute(
        "insert into pipeline_progress (experiment_id, node_id, parent_id, node_level, node_name, status, total_units)"
        " select %s, 'p/' || n, 'p', 'step', n, 'running', 10 from generate_series(1, %s) as n",
        (EXPERIMENT_ID, MILLION),
    )
    conn.execute("alter table pipeline_progress enable trigger user")
    sink = PostgresSink(dsn)
    shipper = Shipper(sink)
    started = time.monotonic()
    shipper.ship(node("p"))
    assert time.monotonic() - started < 30
    started = time.monotonic()
    for number in range(50):
        shipper.ship(node(f"p/{number + 1}", "p", total_units=10, completed_units=5, version=2))
    assert time.monotonic() - started < 10
    sink.close()
    row = conn.execute("select child_weight, child_sum from pipeline_progress where node_id = 'p'").fetchone()
    assert row == (1000 * MILLION, 50 * 1000 * 500_000_000)


def test_parents_that_never_come(dsn: str) -> None:
    """Children of a missing parent are stored; nothing waits for it."""
    sink, source = PostgresSink(dsn), PostgresSource(dsn)
    Shipper(sink).ship(*(node(f"x/{number}", "x", status="completed") for number in range(100)))
    Shipper(sink).ship(*(node(f"x/{number}", "x", status="completed", version=2) for number in range(100)))
    assert len(source.nodes(EXPERIMENT_ID)) == 100
    sink.close()
    source.close()


def test_a_cycle_is_bounded_however_batches_come(dsn: str) -> None:
    """Rings of parents, entered from leaves again and again, end in bounded time and lose no row."""
    sink, source = PostgresSink(dsn), PostgresSource(dsn)
    shipper = Shipper(sink)
    ring = [f"n{number}" for number in range(20)]
    started = time.monotonic()
    shipper.ship(*(node(name, ring[number - 1]) for number, name in enumerate(ring)))
    for version in range(1, 5):
        shipper.ship(node("leaf", "n3", total_units=10, completed_units=version, version=version))
    assert time.monotonic() - started < 20
    assert len(source.nodes(EXPERIMENT_ID)) == 21
    sink.close()
    source.close()


def test_recounting_mends_what_was_made_wrong(dsn: str, conn: Connection) -> None:
    """Sums that somebody changed are counted anew from the leaves up, and right ones are left alone."""
    sink, source = PostgresSink(dsn), PostgresSource(dsn)
    rows = [node("p")]
    for phase in range(3):
        rows.append(node(f"p/{phase}", "p", weight=2.0))
        for leaf in range(5):
            status: Status = STATUSES[leaf]
            rows.append(
                node(f"p/{phase}/{leaf}", f"p/{phase}", status=status, completed_units=leaf, total_units=7)
            )
    Shipper(sink).ship(experiment(), *rows)
    right = [
        (one.node_id, one.child_weight, one.child_sum, one.child_reached)
        for one in source.nodes(EXPERIMENT_ID)
    ]
    assert conn.execute("select pipespan_recount_v1()").fetchone() == (0,)
    conn.execute("alter table pipeline_progress disable trigger user")
    conn.execute(
        "update pipeline_progress set child_weight = 1, child_sum = 5, child_reached = 9 where node_id ~ '^p(/0)?$'"
    )
    conn.execute("alter table pipeline_progress enable trigger user")
    assert conn.execute("select pipespan_recount_v1(%s)", (EXPERIMENT_ID,)).fetchone() == (2,)
    assert [
        (one.node_id, one.child_weight, one.child_sum, one.child_reached)
        for one in source.nodes(EXPERIMENT_ID)
    ] == right
    sink.close()
    source.close()


def test_experiments_may_go_while_others_write(dsn: str, conn: Connection) -> None:
    """Deleting an experiment meets no deadlock with writers of it, in whatever order they come to its rows."""
    ids = [str(uuid.uuid4()) for _ in range(3)]

    def write(writer: int) -> None:
        sink = PostgresSink(dsn)
        shipper = Shipper(sink)
        for version in range(1, 40):
            one = ids[(version + writer) % 3]
            shipper.ship(
                node("p", experiment_id=one, version=version),
                *(
                    node(f"p/{leaf}", "p", experiment_id=one, version=version, total_units=9)
                    for leaf in range(5)
                ),
            )
            shipper.ship(
                *(
                    node(f"p/{leaf}", "p", experiment_id=one, version=version, total_units=9, attempt=2)
                    for leaf in range(5)
                )
            )
        sink.close()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, writer) for writer in range(3)]
        while not all(writer.done() for writer in writers):
            for one in ids:
                conn.execute("delete from experiments where id = %s", (one,))
        assert [writer.result() for writer in writers] == [None] * 3
    wrong = conn.execute("select sum(pipespan_recount_v1(id)) from experiments").fetchone()
    assert wrong in {(0,), (None,)}


@pytest.mark.parametrize(
    ("roots", "job_status", "expected"),
    [
        ((), "completed", "running"),
        (("completed",), "running", "running"),
        (("completed",), "completed", "completed"),
        (("completed", "failed", "cancelled"), "failed", "failed"),
        (("completed", "running"), "failed", "running"),
    ],
)
def test_an_experiment_follows_its_roots_and_jobs(
    dsn: str, conn: Connection, roots: tuple[Status, ...], job_status: Status, expected: str
) -> None:
    """An experiment whose owner's last row never came has the outcome of its roots once nobody works on it."""
    sink = PostgresSink(dsn)
    Shipper(sink).ship(
        experiment(),
        job(str(uuid.uuid4()), status=job_status),
        *(node(f"r{number}", status=status) for number, status in enumerate(roots)),
    )
    sink.close()
    found = conn.execute("select pipespan_experiment_status_v1(%s)", (EXPERIMENT_ID,)).fetchone()
    assert found == (expected,)
