"""Who shares the work, how far each is, and who is behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipespan.query.status import StatusView, status
from pipespan.query.workers import stragglers_of, workers_document, workers_of
from tests.query.samples import NOW, ListSource, ago, experiment, job, node


def ranks(*percents: float, **changes: Any) -> ListSource:
    """Return a run whose ranks have done so much of one share each."""
    jobs = [job(id="owner", pid=1)]
    nodes = [node("train", job_id="owner")]
    for rank, percent in enumerate(percents):
        evidence = {"rank": rank, "world_size": len(percents)}
        jobs.append(
            job(
                id=f"job-{rank}",
                pid=100 + rank,
                host=f"gpu-{rank}",
                parent_job_id="owner",
                evidence=evidence,
                **changes,
            )
        )
        nodes.append(
            node(
                f"train/fit@r{rank}", node_name="fit", job_id=f"job-{rank}", total_units=100,
                completed_units=int(percent), progress_percent=percent,
            )
        )  # fmt: skip
    return ListSource([experiment()], jobs, nodes)


def view_of(source: ListSource) -> StatusView:
    return status(source, "last", NOW)


def test_a_rank_that_is_behind_is_named() -> None:
    """By its rank, with how far it is and how far the others are."""
    (found,) = stragglers_of(view_of(ranks(62, 60, 20, 64)))
    assert (found.node_id, found.job_id) == ("train/fit@r2", "job-2")
    assert found.who == "rank 2, process 102 on gpu-2"
    assert found.reason == "20% done, the others 61%"


def test_small_differences_and_small_groups_are_nobodys_fault() -> None:
    """At the start all differ; of two nobody knows which is the odd one; what has ended is not behind."""
    for percents in [(1, 2, 0, 2), (60, 50, 58), (90, 10), (50,)]:
        assert stragglers_of(view_of(ranks(*percents))) == ()
    source = ranks(60, 62, 10)
    source.all_nodes[-1] = replace(source.all_nodes[-1], status="failed", end_time=ago(5))
    assert stragglers_of(view_of(source)) == ()
    source = ranks(60, 62, 10)
    source.found[0] = replace(source.found[0], status="failed", ended_at=ago(1))
    assert stragglers_of(view_of(source)) == ()


def test_a_piece_that_takes_far_longer_than_the_others_is_named() -> None:
    """In a pool, where each process has done several pieces, time tells."""
    jobs = [
        job(id="owner", pid=1),
        job(id="a", pid=2, parent_job_id="owner"),
        job(id="b", pid=3, parent_job_id="owner"),
    ]
    ended = [
        node(
            f"run/part {number}",
            job_id="ab"[number % 2],
            status="completed",
            start_time=ago(200),
            end_time=ago(198),
        )
        for number in range(6)
    ]
    nodes = [node("run", job_id="owner"), *ended, node("run/part 6", job_id="b", start_time=ago(90))]
    (found,) = stragglers_of(view_of(ListSource([experiment()], jobs, nodes)))
    assert (found.node_id, found.reason) == ("run/part 6", "running for 90 s, the others took 2.0 s")
    nodes[-1] = replace(nodes[-1], start_time=ago(8))
    assert stragglers_of(view_of(ListSource([experiment()], jobs, nodes))) == ()


def test_each_worker_has_its_own_progress() -> None:
    """Ranks come in their order, with their share, what they do now, and their health."""
    source = ranks(30, 70, 75)
    source.all_jobs[2] = replace(source.all_jobs[2], heartbeat_at=ago(500))
    source.all_nodes.append(node("train/fit@r1/batch", job_id="job-1"))
    owner, *_ = found = sorted(workers_of(view_of(source)), key=lambda one: one.pid)
    assert [one.rank for one in workers_of(view_of(source))] == [0, 1, 2, None]
    assert owner.rank is None
    assert [(one.progress_percent, one.health) for one in found[1:]] == [
        (30, "alive"), (70, "lost contact"), (75, "alive")
    ]  # fmt: skip
    assert found[2].node == "train/fit@r1/batch"
    assert [one.is_straggler for one in found] == [False, True, False, False]
    document = workers_document(view_of(source))
    assert document["workers"][0]["world_size"] == 3
    assert document["stragglers"][0]["node_id"] == "train/fit@r0"
