"""The death certificate: what is written about a process that cannot say it itself any more; pure.

Its rows end what the process left open. They carry the process's attempt and are terminal, so that by the rule of
merging no late row reopens them, and a later attempt is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from pipespan.model.causes import KILLED, OS_EXIT, RETURN, SIGNAL_PREFIX, VANISHED, describe, status_of_cause
from pipespan.model.health import CANCEL_KEY, ENGINE_KEY
from pipespan.model.records import ExperimentRecord, JobRecord, NodeRecord
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, NodeRow, Row
from pipespan.model.status import TERMINAL_STATUSES, Status

DEATH: Final = "death"
"""`event_type` of the event, and lane of its ledger entry."""

MAX_LOGS: Final = 50
MAX_NODES: Final = 50
"""So many open nodes stand in the event; the rows of all of them are ended."""

_UNASKED: Final = frozenset({VANISHED, KILLED, OS_EXIT, f"{SIGNAL_PREFIX}SIGTERM"})
"""Causes of death that an engine may stand behind: it ends its processes from outside, or has them end themselves."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Death:
    """What was found out about the end of a process.

    Attributes:
        cause: a word of `pipespan.model.causes`.
        died_at_unix_ns: when, as exactly as it is known: the last sign of life at the least.
        found_at_unix_ns: when it was found out.
        found_by: who did.
        exit_code: its exit status, where somebody saw it.
        exit_signal: the signal that ended it, likewise.
        evidence: what the cause rests on.
        last_logs: its last log lines, oldest first.
        samples: its last resource samples, oldest first.
    """

    cause: str
    died_at_unix_ns: int
    found_at_unix_ns: int
    found_by: str
    exit_code: int | None = None
    exit_signal: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    last_logs: Sequence[str] = ()
    samples: Sequence[Mapping[str, Any]] = ()


def certificate(
    death: Death, job: JobRecord, experiment: ExperimentRecord | None, open_nodes: Sequence[NodeRecord]
) -> list[Row]:
    """Return the rows that end what `job` left open, and the event that tells why; none when it has ended.

    Args:
        death: what was found out.
        job: the process's part in an experiment, as recorded.
        experiment: that experiment; None when it is not known yet.
        open_nodes: the nodes of the job that are pending or running.
    """
    if job.status in TERMINAL_STATUSES:
        return []
    mine = [node for node in open_nodes if node.job_id == job.id and node.status not in TERMINAL_STATUSES]
    if ENGINE_KEY in job.evidence and not mine and death.cause in _UNASKED:
        # It had done all that it was given, and its engine had no more use for it.
        return [_job_row(job, replace(death, cause=RETURN), "completed")]
    status = status_of_cause(death.cause)
    asked = job.evidence.get(CANCEL_KEY)
    if isinstance(asked, Mapping):
        # Somebody asked it to stop, and it had to be made to.
        status = "cancelled"
        evidence = {**death.evidence, "ended_by": death.cause}
        death = replace(death, cause=f"cancelled by {asked.get('by', 'somebody')}", evidence=evidence)
    rows: list[Row] = []
    owns_root = any(node.parent_id is None for node in mine)
    if owns_root and experiment is not None and experiment.attempt <= job.attempt:
        rows.append(_experiment_row(experiment, job, death, status))
    rows.append(_job_row(job, death, status))
    rows += [_node_row(node, death, status) for node in mine]
    running = sorted((node for node in mine if node.start_time is not None), key=_depth)
    told = [_open_node(node) for node in running]
    rows.append(death_event(death, job.experiment_id, job.id, told, where=f"process {job.pid} on {job.host}"))
    return rows


def _depth(node: NodeRecord) -> tuple[int, int]:
    return node.node_id.count("/"), node.version


def death_event(
    death: Death, experiment_id: str, job_id: str, open_nodes: Sequence[Mapping[str, Any]], *, where: str
) -> EventRow:
    """Return the event that tells of a death.

    Args:
        death: what is known of it.
        experiment_id: the experiment.
        job_id: the process's part in it.
        open_nodes: what ran then, each with its `node_id` and how far it was, the deepest last.
        where: names the process.
    """
    return EventRow(
        experiment_id=experiment_id,
        job_id=job_id,
        node_id=open_nodes[-1]["node_id"] if open_nodes else None,
        event_type=DEATH,
        source="pipespan",
        severity="WARNING" if status_of_cause(death.cause) == "cancelled" else "ERROR",
        title=f"{where}: {describe(death.cause, death.exit_code)}",
        details={
            "cause": death.cause,
            "exit_code": death.exit_code,
            "exit_signal": death.exit_signal,
            "evidence": dict(death.evidence),
            "found_by": death.found_by,
            "found_at": _iso(death.found_at_unix_ns),
            "last_logs": list(death.last_logs)[-MAX_LOGS:],
            "open_nodes": [dict(node) for node in open_nodes[-MAX_NODES:]],
            "open_node_count": len(open_nodes),
            "samples": [dict(sample) for sample in death.samples],
        },
        timestamp=death.died_at_unix_ns,
    )


def _open_node(node: NodeRecord) -> dict[str, Any]:
    return {
        "node_id": node.node_id,
        "level": node.node_level,
        "completed": node.completed_units,
        "total": node.total_units,
        "unit": node.unit,
        "percent": float(node.progress_percent),
        "message": node.message,
        "started": None if node.start_time is None else node.start_time.isoformat(),
    }


def _job_row(job: JobRecord, death: Death, status: Status) -> JobRow:
    return JobRow(
        id=job.id,
        experiment_id=job.experiment_id,
        attempt=job.attempt,
        parent_job_id=job.parent_job_id,
        host=job.host,
        boot_id=job.boot_id,
        pid=job.pid,
        process_started_at=_optional_ns(job.process_started_at),
        status=status,
        cause=death.cause,
        exit_code=death.exit_code,
        exit_signal=death.exit_signal,
        evidence={**job.evidence, **death.evidence, "found_by": death.found_by},
        command=job.command,
        started_at=_ns(job.started_at),
        heartbeat_at=_ns(job.heartbeat_at),
        progress_at=_ns(job.progress_at),
        ended_at=max(death.died_at_unix_ns, _ns(job.started_at)),
        log_messages=tuple(death.last_logs)[-MAX_LOGS:],
        version=max(death.found_at_unix_ns, job.version + 1),
    )


def _node_row(node: NodeRecord, death: Death, status: Status) -> NodeRow:
    is_pending = node.start_time is None
    said = {"last_message": node.message} if node.message else {}
    start = _optional_ns(node.start_time)
    return NodeRow(
        experiment_id=node.experiment_id,
        node_id=node.node_id,
        node_level=node.node_level,
        parent_id=node.parent_id,
        node_name=node.node_name,
        status="cancelled" if is_pending else status,
        completed_units=node.completed_units,
        total_units=node.total_units,
        unit=node.unit,
        weight=node.weight,
        message="not started: its process died"
        if is_pending
        else f"its process died: {describe(death.cause, death.exit_code)}",
        error_type=None if is_pending else death.cause,
        start_time=start,
        end_time=max(death.died_at_unix_ns, start or 0),
        metadata={**node.metadata, **said},
        trace_id=node.trace_id,
        span_id=node.span_id,
        job_id=node.job_id,
        attempt=node.attempt,
        # Just above what is known: an end that the process told itself, or that another one told which took the work
        # over meanwhile, comes later and stays, whenever this is found out.
        version=node.version + 1,
    )


def _experiment_row(
    experiment: ExperimentRecord, job: JobRecord, death: Death, status: Status
) -> ExperimentRow:
    return ExperimentRow(
        id=experiment.id,
        name=experiment.name,
        status=status,
        params=experiment.params,
        tags=experiment.tags,
        command=experiment.command,
        host=experiment.host,
        user_name=experiment.user_name,
        git_commit=experiment.git_commit,
        started_at=_ns(experiment.started_at or job.started_at),
        ended_at=death.died_at_unix_ns,
        trace_id=experiment.trace_id,
        attempt=job.attempt,
        version=max(death.found_at_unix_ns, experiment.version + 1),
    )


def _ns(moment: datetime) -> int:
    # Whole microseconds, which floating point would not keep.
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _optional_ns(moment: datetime | None) -> int | None:
    return None if moment is None else _ns(moment)


def _iso(unix_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=unix_ns // 1000)).isoformat()
