"""Certificates end what is open, and nothing else, whatever comes late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.certificate import Death, certificate
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, NodeRow
from pipespan.store.memory import MemoryStore
from tests.fixtures import rows

JOB = "33333333-2222-4333-8444-555555555555"
OTHER = "44444444-2222-4333-8444-555555555555"
NOW = rows.MOMENT_UNIX_NS + 60 * 10**9


def death(**changes):
    given = {"cause": "killed", "died_at_unix_ns": NOW, "found_at_unix_ns": NOW + 1, "found_by": "tests"}
    return Death(**{**given, **changes})


def filled():
    store = MemoryStore()
    rows.Shipper(store).ship(
        rows.experiment(),
        rows.job(JOB),
        rows.job(OTHER, parent_job_id=JOB),
        rows.node("p", job_id=JOB),
        rows.node("p/a", "p", job_id=JOB, completed_units=3, total_units=10, message="shard 3"),
        rows.node("p/b", "p", job_id=JOB, status="completed", end_time=rows.MOMENT_UNIX_NS),
        rows.node("p/c", "p", job_id=JOB, status="pending", start_time=None),
        rows.node("p/a@x", "p/a", job_id=OTHER),
    )
    return store


def issue(store, job_id=JOB, **changes):
    (job,) = [one for one in store.jobs(rows.EXPERIMENT_ID) if one.id == job_id]
    (experiment,) = store.experiments(limit=1)
    return certificate(death(**changes), job, experiment, store.open_nodes(rows.EXPERIMENT_ID, job_id))


def test_all_that_the_process_left_open_is_ended():
    """Its job, its nodes, the experiment whose root it owned; not what others have open."""
    store = filled()
    rows.Shipper(store).ship(*issue(store))
    assert {job.id: (job.status, job.cause) for job in store.jobs(rows.EXPERIMENT_ID)} == {
        JOB: ("failed", "killed"), OTHER: ("running", None),
    }  # fmt: skip
    assert {node.node_id: node.status for node in store.nodes(rows.EXPERIMENT_ID)} == {
        "p": "failed", "p/a": "failed", "p/b": "completed", "p/c": "cancelled", "p/a@x": "running",
    }  # fmt: skip
    (experiment,) = store.experiments(limit=1)
    assert experiment.status == "failed"
    assert experiment.ended_at is not None
    assert int(experiment.ended_at.timestamp()) == NOW // 10**9


def test_the_event_tells_what_was_open():
    """Deepest last, with progress, and the event stands at the deepest."""
    (event,) = [row for row in issue(filled(), last_logs=["INFO x"] * 60) if isinstance(row, EventRow)]
    assert event.node_id == "p/a"
    assert [node["node_id"] for node in event.details["open_nodes"]] == ["p", "p/a"]
    assert event.details["open_nodes"][-1]["completed"] == 3
    assert len(event.details["last_logs"]) == 50


def test_a_worker_does_not_end_the_experiment():
    """Only the owner of the root does."""
    assert not any(isinstance(row, ExperimentRow) for row in issue(filled(), OTHER))


def test_who_has_ended_gets_none():
    """A job with a final status needs no certificate."""
    store = filled()
    rows.Shipper(store).ship(rows.job(JOB, status="completed", version=2, ended_at=NOW))
    assert issue(store) == []


@given(late=st.integers(min_value=1, max_value=2**62), first=st.booleans())
def test_no_late_row_reopens_what_is_dead(late, first):
    """Heartbeats and progress of whatever version, before or after: the attempt stays ended."""
    store = filled()
    shipper = rows.Shipper(store)
    stale = [
        rows.job(JOB, version=late),
        rows.node("p/a", "p", job_id=JOB, version=late),
        rows.experiment(version=late),
    ]
    issued = issue(store)
    for batch in (stale, issued) if first else (issued, stale):
        shipper.ship(*batch)
    assert store.experiments(limit=1)[0].status == "failed"
    assert {job.status for job in store.jobs(rows.EXPERIMENT_ID) if job.id == JOB} == {"failed"}
    assert {node.status for node in store.nodes(rows.EXPERIMENT_ID) if node.node_id == "p/a"} == {"failed"}


def test_a_later_attempt_is_not_touched():
    """The experiment was started anew before the death was found."""
    store = filled()
    rows.Shipper(store).ship(rows.experiment(attempt=2, version=5))
    rows.Shipper(store).ship(*issue(store))
    assert store.experiments(limit=1)[0].status == "running"
    assert any(isinstance(row, JobRow) for row in issue(filled()))
    assert any(isinstance(row, NodeRow) for row in issue(filled()))


@pytest.mark.parametrize("cause", ["vanished", "killed", "os-exit", "signal:SIGTERM"])
def test_an_engine_may_end_its_idle_processes(cause):
    """What had nothing open and belongs to an engine that kills its idle processes has not failed."""
    store = filled()
    rows.Shipper(store).ship(rows.job("55555555-2222-4333-8444-555555555555", evidence={"engine": "ray"}))
    (row,) = issue(store, "55555555-2222-4333-8444-555555555555", cause=cause)
    assert isinstance(row, JobRow)
    assert (row.status, row.cause) == ("completed", "return")
    rows.Shipper(store).ship(rows.node("p/z", "p", job_id="55555555-2222-4333-8444-555555555555"))
    assert issue(store, "55555555-2222-4333-8444-555555555555", cause=cause)[0].status == "failed"
