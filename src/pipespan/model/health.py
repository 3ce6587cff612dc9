"""Is it alive? Derived when read, from two clocks (heartbeat, progress) and from evidence; never from silence alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from pipespan.model.progress import STALL_AFTER_S
from pipespan.model.status import TERMINAL_STATUSES

if TYPE_CHECKING:
    from pipespan.model.records import ExperimentRecord, JobRecord

HealthWord = Literal["alive", "stalled", "lost contact", "dead", "finished"]

Finding = Literal["unknown", "running", "gone", "replaced", "rebooted"]
"""What was found out about a job's process on its own host.

- unknown: nothing; other host, or not allowed to look.
- running: a process of that pid and start time exists.
- gone: no process of that pid exists, or only its zombie.
- replaced: the pid belongs to a process of another start time.
- rebooted: the host has started anew since.
"""

HEARTBEAT_INTERVAL_S: Final = 5.0
"""How often a job says that it lives, at default settings."""

CONTACT_LIMIT_S: Final = 3 * HEARTBEAT_INTERVAL_S
"""Silence longer than three heartbeats is lost contact: one may be late, two may be unlucky."""


STALLED_KEY: Final = "stalled"
"""Key of a job's `evidence` while a promise is broken: which node, since when, what was promised, where it is."""

CANCEL_KEY: Final = "cancel_requested"
"""Key of a job's `evidence` once somebody has asked it to stop: who, and when."""

RANK_KEY: Final = "rank"
WORLD_SIZE_KEY: Final = "world_size"
"""Keys of a job's `evidence` where a launcher has told which of how many parallel workers it is."""

ENGINE_KEY: Final = "engine"
"""Key of a job's `evidence` where the process belongs to an engine that ends its idle ones without a word."""


@dataclass(frozen=True, slots=True)
class JobHealth:
    """Health of one job, with the reason in words."""

    job_id: str
    word: HealthWord
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """Health of an experiment.

    Attributes:
        word: the verdict.
        reason: why, in one line for people.
        heartbeat_at: latest sign of life of the jobs that the verdict rests on, None without any.
        progress_at: latest movement of those.
        jobs: the verdicts on the jobs of the latest attempt.
        cause: what ended it, where it is over and has not succeeded.
    """

    word: HealthWord
    reason: str
    heartbeat_at: datetime | None
    progress_at: datetime | None
    jobs: Sequence[JobHealth]
    cause: str | None = None


# The best word of any job is the experiment's: one worker at work means that it lives.
_BEST_FIRST: Final[tuple[HealthWord, ...]] = ("alive", "stalled", "lost contact", "dead")


def derive_health(
    experiment: ExperimentRecord,
    jobs: Sequence[JobRecord],
    now: datetime,
    evidence: Mapping[str, Finding],
    *,
    contact_limit_s: float = CONTACT_LIMIT_S,
    stall_limit_s: float = STALL_AFTER_S,
) -> Health:
    """Return the health of an experiment at `now`.

    Args:
        experiment: as recorded.
        jobs: all its jobs; those of earlier attempts are not looked at.
        now: the reader's time.
        evidence: what was found about the processes, by job id; a missing one is unknown.
        contact_limit_s: heartbeats older than this mean that contact is lost.
        stall_limit_s: progress older than this, with heartbeats, means a stall.
    """
    latest = max((job.attempt for job in jobs), default=0)
    current = [job for job in jobs if job.attempt == latest]
    verdicts = tuple(
        _job_health(job, now, evidence.get(job.id, "unknown"), contact_limit_s, stall_limit_s)
        for job in current
    )
    if experiment.status in TERMINAL_STATUSES:
        return _finished(experiment, current, verdicts)
    judged = [verdict for verdict in verdicts if verdict.word != "finished"]
    if not judged:
        return _without_open_jobs(experiment, current, verdicts, now, contact_limit_s)
    word = _best({verdict.word for verdict in judged})
    reason = _newest_reason(current, judged, word) + _others(judged, word)
    relevant = {verdict.job_id for verdict in judged if verdict.word == word}
    return _health(word, reason, [job for job in current if job.id in relevant], verdicts)


def _finished(
    experiment: ExperimentRecord, current: Sequence[JobRecord], verdicts: Sequence[JobHealth]
) -> Health:
    """Judge an experiment that is over; processes that work on all the same are told of."""
    # Those of the owner of the root come first: its end is the experiment's.
    ends = sorted(
        (job for job in current if job.status == experiment.status), key=lambda job: bool(job.parent_job_id)
    )
    cause = ends[0].cause if ends and experiment.status != "completed" else None
    reason = f"it has {_outcome(experiment)}" + (f": {cause}" if cause else "")
    still = sum(verdict.word in ("alive", "stalled") for verdict in verdicts)
    if still and experiment.status != "completed":
        reason += f"; {still} of its processes still {'runs' if still == 1 else 'run'}"
    return replace(_health("finished", reason, current, verdicts), cause=cause)


def _best(words: Collection[HealthWord]) -> HealthWord:
    for word in _BEST_FIRST:
        if word in words:
            return word
    return "dead"


def _job_health(
    job: JobRecord, now: datetime, finding: Finding, contact_limit_s: float, stall_limit_s: float
) -> JobHealth:
    silence_s = _age_s(job.heartbeat_at, now)
    who = f"process {job.pid} on {job.host}"
    if job.ended_at is not None or job.status in TERMINAL_STATUSES:
        return _ended(job, who)
    if finding == "gone":
        return JobHealth(job.id, "dead", f"{who} is gone without a word")
    if finding == "rebooted":
        return JobHealth(job.id, "dead", f"{who} did not survive a restart of the host")
    # A step of the host's clock shifts the start times that are computed from it, so a heart that still
    # beats refutes this one finding.
    if finding == "replaced" and silence_s > contact_limit_s:
        return JobHealth(job.id, "dead", f"{who} is gone, its pid belongs to another process now")
    if silence_s > contact_limit_s:
        known = ", although its process exists" if finding == "running" else ""
        return JobHealth(job.id, "lost contact", f"{who} has been silent for {_ago(silence_s)}{known}")
    stall = job.evidence.get(STALLED_KEY)
    if isinstance(stall, Mapping):
        return JobHealth(job.id, "stalled", _broken_promise(stall, who, now))
    idle_s = _age_s(job.progress_at, now)
    if idle_s > stall_limit_s:
        return JobHealth(job.id, "stalled", f"{who} lives, but nothing has moved for {_ago(idle_s)}")
    return JobHealth(job.id, "alive", f"{who} lives")


def _broken_promise(stall: Mapping[str, Any], who: str, now: datetime) -> str:
    since_ns, promise_s, place = (stall.get(name) for name in ("rests_since_unix_ns", "promise_s", "where"))
    words = f"{who} lives, but {str(stall.get('node_id'))!r} has not moved"
    if isinstance(since_ns, int | float):
        words += f" for {_ago(max(now.timestamp() - since_ns / 1e9, 0.0))}"
    if isinstance(promise_s, int | float):
        words += f" (promised every {_ago(promise_s)})"
    return f"{words}; {place}" if place else words


def _ended(job: JobRecord, who: str) -> JobHealth:
    if job.status == "failed" or (job.status == "cancelled" and job.cause is not None):
        return JobHealth(job.id, "dead", f"{who} has ended: {_cause(job)}")
    return JobHealth(job.id, "finished", f"{who} has ended: {job.status}")


def _cause(job: JobRecord) -> str:
    if job.cause is not None:
        return job.cause
    if job.exit_signal is not None:
        return f"signal {job.exit_signal}"
    return f"exit code {job.exit_code}" if job.exit_code is not None else job.status


def _without_open_jobs(
    experiment: ExperimentRecord,
    current: Sequence[JobRecord],
    verdicts: Sequence[JobHealth],
    now: datetime,
    contact_limit_s: float,
) -> Health:
    """Judge an experiment that is not over although no process works on it (any more, or yet)."""
    since = max((job.ended_at or job.heartbeat_at for job in current), default=experiment.created_at)
    age_s = _age_s(since, now)
    if age_s <= contact_limit_s:
        return _health("alive", "its processes have just begun or just ended", current, verdicts)
    if current:
        reason = f"its processes ended {_ago(age_s)} ago, but the outcome has not arrived"
    else:
        reason = f"no process has reported since it was created {_ago(age_s)} ago"
    return _health("lost contact", reason, current, verdicts)


def _health(
    word: HealthWord, reason: str, jobs: Sequence[JobRecord], verdicts: Sequence[JobHealth]
) -> Health:
    return Health(
        word=word,
        reason=reason,
        heartbeat_at=max((job.heartbeat_at for job in jobs), default=None),
        progress_at=max((job.progress_at for job in jobs), default=None),
        jobs=tuple(verdicts),
    )


def _newest_reason(jobs: Sequence[JobRecord], verdicts: Sequence[JobHealth], word: HealthWord) -> str:
    heartbeats = {job.id: job.heartbeat_at for job in jobs}
    chosen = [verdict for verdict in verdicts if verdict.word == word]
    return max(chosen, key=lambda verdict: heartbeats[verdict.job_id]).reason


def _others(verdicts: Sequence[JobHealth], word: HealthWord) -> str:
    counts = [
        (other, sum(verdict.word == other for verdict in verdicts)) for other in _BEST_FIRST if other != word
    ]
    told = ", ".join(f"{count} {other}" for other, count in counts if count)
    return f" (of the other processes: {told})" if told else ""


def _outcome(experiment: ExperimentRecord) -> str:
    return "been cancelled" if experiment.status == "cancelled" else str(experiment.status)


def _age_s(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
