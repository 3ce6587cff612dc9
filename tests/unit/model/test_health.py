from __future__ import annotations

from typing import Any

import pytest

from pipespan.model.health import CONTACT_LIMIT_S, Finding, HealthWord, derive_health
from pipespan.model.progress import STALL_AFTER_S
from tests.query.samples import NOW, ago, experiment, job

SILENT = ago(CONTACT_LIMIT_S + 1)
STUCK = ago(STALL_AFTER_S + 1)
OLD = ago(3600)

CASES: list[tuple[str, dict[str, Any], Finding, HealthWord]] = [
    ("beats and moves", {}, "unknown", "alive"),
    ("beats just within the limit", {"heartbeat_at": ago(CONTACT_LIMIT_S)}, "unknown", "alive"),
    ("its clock runs ahead", {"heartbeat_at": ago(-100), "progress_at": ago(-100)}, "unknown", "alive"),
    ("beats, does not move", {"progress_at": STUCK}, "running", "stalled"),
    ("silent, nobody can look", {"heartbeat_at": SILENT}, "unknown", "lost contact"),
    (
        "silent for hours on another host",
        {"heartbeat_at": OLD, "progress_at": OLD},
        "unknown",
        "lost contact",
    ),
    ("silent, its process exists", {"heartbeat_at": SILENT}, "running", "lost contact"),
    ("killed a second ago", {"heartbeat_at": ago(1)}, "gone", "dead"),
    ("gone long ago", {"heartbeat_at": OLD}, "gone", "dead"),
    ("pid taken over", {"heartbeat_at": OLD}, "replaced", "dead"),
    ("pid seems taken over, but it beats", {}, "replaced", "alive"),
    ("host restarted", {"heartbeat_at": OLD}, "rebooted", "dead"),
    ("ended, failed", {"status": "failed", "cause": "signal 9"}, "unknown", "dead"),
    ("ended, cancelled for a cause", {"status": "cancelled", "cause": "scancel"}, "unknown", "dead"),
    ("ended well, outcome on its way", {"status": "completed", "ended_at": ago(2)}, "unknown", "alive"),
    ("ended well, outcome never came", {"status": "completed", "ended_at": OLD}, "unknown", "lost contact"),
]


@pytest.mark.parametrize(("name", "changes", "finding", "word"), CASES, ids=[case[0] for case in CASES])
def test_health_of_one_job(name: str, changes: dict[str, Any], finding: Finding, word: HealthWord) -> None:
    """Each state of a job's clocks, outcome and evidence gives its word."""
    one = job(**changes)
    assert derive_health(experiment(), [one], NOW, {one.id: finding}).word == word


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_experiment_is_finished(status: str) -> None:
    """A recorded outcome settles it, whatever its processes look like."""
    health = derive_health(experiment(status=status), [job(heartbeat_at=OLD)], NOW, {job().id: "gone"})
    assert health.word == "finished"


@pytest.mark.parametrize("silence_s", [16, 3600, 86_400, 86_400 * 365])
def test_silence_alone_is_never_death(silence_s: float) -> None:
    """However long nobody heard of it, without evidence contact is lost and nothing more."""
    quiet = job(heartbeat_at=ago(silence_s), progress_at=ago(silence_s))
    assert derive_health(experiment(), [quiet], NOW, {}).word == "lost contact"


def test_one_worker_at_work_means_alive() -> None:
    """The best of several jobs decides, and the others are told."""
    jobs = [job(id="a"), job(id="b", heartbeat_at=SILENT), job(id="c", status="failed", cause="exit code 1")]
    health = derive_health(experiment(), jobs, NOW, {})
    assert health.word == "alive"
    assert "1 lost contact, 1 dead" in health.reason
    assert {one.job_id: one.word for one in health.jobs} == {"a": "alive", "b": "lost contact", "c": "dead"}


def test_death_needs_evidence_for_every_open_job() -> None:
    """With one job gone and one merely silent nobody can say that all is over."""
    jobs = [job(id="a", heartbeat_at=OLD), job(id="b", heartbeat_at=OLD)]
    assert derive_health(experiment(), jobs, NOW, {"a": "gone"}).word == "lost contact"
    assert derive_health(experiment(), jobs, NOW, {"a": "gone", "b": "rebooted"}).word == "dead"


def test_earlier_attempts_do_not_count() -> None:
    """A restart lives although the attempt before it died."""
    jobs = [job(id="a", attempt=1, status="failed", cause="signal 9"), job(id="b", attempt=2)]
    assert derive_health(experiment(attempt=2), jobs, NOW, {}).word == "alive"
    jobs = [job(id="a", attempt=1), job(id="b", attempt=2, heartbeat_at=OLD)]
    assert derive_health(experiment(attempt=2), jobs, NOW, {"b": "gone"}).word == "dead"


def test_without_jobs_it_depends_on_age() -> None:
    """Just created, its first process may still be coming; later contact is lost."""
    assert derive_health(experiment(created_at=ago(3)), [], NOW, {}).word == "alive"
    assert derive_health(experiment(created_at=OLD), [], NOW, {}).word == "lost contact"


def test_the_cause_is_told() -> None:
    """A death certificate's words reach the reader."""
    killed = job(status="failed", cause="killed by the kernel: out of memory", exit_signal=9)
    assert "out of memory" in derive_health(experiment(), [killed], NOW, {}).reason
