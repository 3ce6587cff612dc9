"""How the processes of an experiment ended, in a line or two for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipespan.model.causes import RETURN, describe
from pipespan.model.records import JobRecord
from pipespan.query.document import to_json


@dataclass(frozen=True, slots=True)
class Ending:
    """How one process ended, otherwise than by success.

    Attributes:
        attempt: of the experiment.
        job_id: the process's part in it.
        is_owner: whether it owned the root of the tree.
        cause: the word.
        words: the same for people.
        evidence: what that rests on, in a line; empty when the process said it itself.
        exit_code: where somebody saw it.
        exit_signal: likewise.
        ended_at: when.
    """

    attempt: int
    job_id: str
    is_owner: bool
    cause: str
    words: str
    evidence: str
    exit_code: int | None
    exit_signal: int | None
    ended_at: datetime | None


def endings_of(jobs: Sequence[JobRecord]) -> tuple[Ending, ...]:
    """Return the ends of the processes that did not succeed, by attempt, owners of the root first."""
    found = [_ending(job) for job in jobs if job.status in ("failed", "cancelled") and job.cause != RETURN]
    return tuple(sorted(found, key=lambda one: (one.attempt, not one.is_owner)))


def _ending(job: JobRecord) -> Ending:
    cause = job.cause or job.status
    return Ending(
        job.attempt, job.id, job.parent_job_id is None, cause, describe(cause, job.exit_code), _evidence(job),
        job.exit_code, job.exit_signal, job.ended_at,
    )  # fmt: skip


def _evidence(job: JobRecord) -> str:
    known = job.evidence
    parts = []
    if isinstance(reason := known.get("exception"), str):
        parts.append(reason.partition("\n")[0])
    if "signal" in known and "exit_status_seen_by" in known:
        parts.append(f"{known['signal']} seen by {known['exit_status_seen_by']}")
    elif "exit_status_seen_by" in known:
        parts.append(f"exit status {job.exit_code} seen by {known['exit_status_seen_by']}")
    elif "proof" in known:
        parts.append(str(known["proof"]))
    if kills := known.get("cgroup_oom_kills"):
        parts.append(f"its control group counted {kills} kill{'s' if kills != 1 else ''} for memory")
    if isinstance(stack := known.get("stack"), str) and (frame := _crash_frame(stack)):
        parts.append(f"at {frame}")
    return "; ".join(parts)


def _crash_frame(stack: str) -> str:
    """Return the innermost frame of the thread that it happened in."""
    _, is_there, behind = stack.partition("Current thread")
    lines = (behind if is_there else stack).splitlines()
    return next((line.strip() for line in lines if line.startswith("  File ")), "")


def ending_lines(endings: Sequence[Ending], attempt: int, *, has_failed: bool) -> list[str]:
    """Return what a display tells of them: each earlier attempt by its cause, the present one with its evidence.

    Args:
        endings: as `endings_of` gives them.
        attempt: the present one.
        has_failed: whether the experiment has ended otherwise than by success.
    """
    lines = []
    for number in sorted({one.attempt for one in endings if one.attempt < attempt}):
        first = next(one for one in endings if one.attempt == number)
        lines.append(f"attempt {number}: {_told(first)}")
    current = [one for one in endings if one.attempt == attempt]
    if has_failed and current:
        first = current[0]
        lines.append(_told(first) + (f" ({first.evidence})" if first.evidence else ""))
        current = current[1:]
    if current:
        causes = ", ".join(sorted({one.cause for one in current}))
        many = f"{len(current)} processes have" if len(current) > 1 else "1 process has"
        lines.append(f"{many} died: {causes}" if not has_failed else f"{many} died beside it: {causes}")
    return lines


def _told(ending: Ending) -> str:
    return ending.cause if ending.words == ending.cause else f"{ending.cause}: {ending.words}"


def endings_document(endings: Sequence[Ending]) -> list[dict[str, Any]]:
    """Return them as `pipespan status --json` prints them."""
    return [to_json(one) for one in endings]
