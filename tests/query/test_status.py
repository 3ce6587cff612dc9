from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from pipespan.query.status import StatusView, status, status_again
from pipespan.query.statusdocument import status_document
from tests.query.samples import (
    EXPERIMENT_ID,
    NOW,
    ListSource,
    ago,
    experiment,
    job,
    log,
    node,
    parent,
    version_at,
)


def source() -> ListSource:
    return ListSource(
        [experiment()],
        [job()],
        [
            parent("train", 40.0),
            node(
                "train/load",
                status="completed",
                completed_units=10,
                total_units=10,
                unit="files",
                start_time=ago(20),
            ),
            node(
                "train/fit",
                completed_units=25,
                total_units=100,
                start_time=ago(51),
                version=version_at(ago(1)),
            ),
            node("train/report", status="pending"),
        ],
        [log(1, level="ERROR", node_id="train/load"), log(2, level="CRITICAL", node_id=None), log(3)],
    )


def view_of(a_source: ListSource) -> StatusView:
    return status(a_source, "last", NOW)


def test_tree_counts_and_errors() -> None:
    """Nodes hang below their parents, errors are summed upwards, those outside any node are counted too."""
    view = view_of(source())
    (root,) = view.roots
    assert [child.record.node_name for child in root.children] == ["load", "fit", "report"]
    assert root.errors_within == 1
    assert root.error_count == 0
    assert view.error_count == 2
    assert view.counts == {"running": 2, "completed": 1, "pending": 1}
    assert [one.record.node_id for one in view.walk()] == ["train", "train/load", "train/fit", "train/report"]


def test_rates_durations_and_etas() -> None:
    """A running node has rate and ETA, an ended one its mean rate and duration, a pending one nothing."""
    load, fit, report = view_of(source()).roots[0].children
    assert fit.rate_per_s == pytest.approx(0.5)
    assert fit.eta_s == pytest.approx(149.0)
    assert (load.duration_s, load.rate_per_s, load.eta_s) == (10.0, 1.0, None)
    assert (report.duration_s, report.rate_per_s, report.eta_s) == (None, None, None)


def test_parent_eta_follows_from_its_percent() -> None:
    """At 40 % after 300 s (the last movement 1 s ago), 60 % need 448.5 s less that second."""
    view = view_of(source())
    assert view.roots[0].eta_s == pytest.approx(299 / 40 * 60 - 1)
    assert view.roots[0].rate_per_s is None
    assert view.eta_s == view.roots[0].eta_s


def test_later_looks_weigh_the_last_half_minute() -> None:
    """With an earlier view the rate follows a change of pace."""
    a_source = source()
    view = view_of(a_source)
    fit = a_source.all_nodes[2]
    for second in range(1, 61):
        now = NOW + timedelta(seconds=second)
        a_source.all_jobs = [job(heartbeat_at=now, progress_at=now)]
        a_source.all_nodes[2] = replace(fit, completed_units=25 + second, version=version_at(now))
        view = status_again(a_source, view, now)
    fast = view.roots[0].children[1].rate_per_s
    assert fast is not None
    assert 0.9 < fast < 1.0


def test_restart_begins_a_new_pace() -> None:
    """Counters that fall back with a new attempt do not give nonsense."""
    a_source = source()
    before = view_of(a_source)
    again = replace(
        a_source.all_nodes[2], completed_units=1, attempt=2, start_time=ago(2), version=version_at(NOW)
    )
    a_source.all_nodes[2] = again
    fit = status_again(a_source, before, NOW).roots[0].children[1]
    assert fit.rate_per_s == pytest.approx(0.5)


def test_clocks_of_the_lost_stand_still() -> None:
    """Without contact a running node has no ETA, and ran as long as was known."""
    a_source = source()
    a_source.all_jobs = [job(heartbeat_at=ago(100))]
    view = view_of(a_source)
    assert view.health.word == "lost contact"
    assert view.eta_s is None
    assert view.roots[0].duration_s == pytest.approx(299.0)  # a node told something after the last heartbeat


def test_watching_stays_with_the_experiment() -> None:
    """`last` may mean another one later; the same view goes on with the same experiment."""
    a_source = source()
    view = view_of(a_source)
    a_source.found.insert(0, experiment(id="ffffffff-0000-4000-8000-000000000009", name="newer"))
    assert status_again(a_source, view, NOW).experiment.id == EXPERIMENT_ID
    assert status(a_source, "last", NOW).experiment.name == "newer"


def test_deep_trees_need_no_stack() -> None:
    """A chain of five thousand nodes is shown like any other."""
    a_source = source()
    chain = [node("0")]
    chain += [node(f"n{level}", parent_id=f"n{level - 1}" if level > 1 else "0") for level in range(1, 5000)]
    a_source.all_nodes = chain
    view = view_of(a_source)
    assert len(list(view.walk())) == 5000
    assert len(status_document(view)["nodes"]) == 5000


def test_document_has_the_promised_names() -> None:
    """Scripts find the columns of the tables, times in UTC, and health as a word."""
    document = json.loads(json.dumps(status_document(view_of(source()))))
    assert set(document) >= {"experiment", "nodes", "jobs", "health", "health_detail"}
    assert set(document["experiment"]) >= {
        "id",
        "name",
        "status",
        "params",
        "tags",
        "started_at",
        "error_count",
    }
    assert document["health"] == "alive"
    assert document["health_detail"]["word"] == "alive"
    columns = (
        "node_id node_level parent_id node_name status progress_percent completed_units total_units unit weight message"
        " error_type start_time end_time metadata trace_id span_id job_id attempt version created_at updated_at"
        " experiment_id"
    )
    assert all(set(one) >= set(columns.split()) for one in document["nodes"])
    assert [one["node_id"] for one in document["nodes"]][0] == "train"
    assert document["jobs"][0]["pid"] == 4711


def test_document_down_to_a_depth() -> None:
    """`depth` leaves out what lies deeper."""
    assert [one["node_id"] for one in status_document(view_of(source()), depth=1)["nodes"]] == ["train"]


def broken_off(state: str) -> ListSource:
    a_source = source()
    a_source.found = [experiment(status=state)]
    a_source.all_nodes = [
        parent("train", 27.5, status=state),
        node("train/own", status=state, completed_units=30, total_units=100),
        parent("train/own-too", 25.0, status=state, completed_units=1, total_units=4),
        node("train/none", status=state),
    ]
    return a_source


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_percent_of_what_was_broken_off(state: str) -> None:
    """Units of its own, or what its children truly reached, tell how far such a node came; else nothing does."""
    view = view_of(broken_off(state))
    (root,) = view.roots
    assert root.is_measurable
    assert [child.is_measurable for child in root.children] == [True, True, False]
    percents = [one["progress_percent"] for one in status_document(view)["nodes"]]
    assert percents == [27.5, 30.0, 25.0, None]


def test_the_dead_are_known_until_their_last_sign() -> None:
    """Of a run killed between two heartbeats the latest time that anything tells is the end that is known."""
    a_source = source()
    a_source.found = [experiment(started_at=ago(600))]
    a_source.all_jobs = [
        job(status="failed", cause="signal 9", heartbeat_at=ago(600), progress_at=ago(599), ended_at=ago(599))
    ]
    a_source.all_nodes = [
        parent("train", 40.0, start_time=ago(600), version=version_at(ago(600))),
        node("train/load", start_time=ago(600), version=version_at(ago(596.5))),
        node(
            "train/done",
            status="completed",
            start_time=ago(599),
            end_time=ago(597),
            version=version_at(ago(597)),
        ),
    ]
    view = view_of(a_source)
    assert view.health.word == "dead"
    assert view.duration_s == pytest.approx(3.5)
    assert [one.state for one in view.walk()] == ["interrupted", "interrupted", "completed"]
    assert view.counts == {"interrupted": 2, "completed": 1}
