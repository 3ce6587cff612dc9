"""How this process's work on an experiment ended, as it says itself: cause, exit code, and the event of a death."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.causes import EXIT, RETURN
from pipespan.record.outcome import error_type_of, message_of

if TYPE_CHECKING:
    from pipespan.model.rows import EventRow
    from pipespan.record.job import Job
    from pipespan.record.node import Node
    from pipespan.record.resources import ResourceReader

_ENDING: Final = "_pipespan_ending"


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: the columns of a job's row with these names."""

    cause: str
    exit_code: int | None = None
    exit_signal: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def with_ending(error: BaseException, ending: Ending) -> None:
    """Have `error` say how what it stands for ended, such as another process."""
    setattr(error, _ENDING, ending)


def ending_of(error: BaseException | None) -> Ending:
    """Return how the work ended that `error` left, None standing for its end; never raises."""
    if error is None:
        return Ending(RETURN)
    given = getattr(error, _ENDING, None)
    if isinstance(given, Ending):
        return given
    if isinstance(error, SystemExit):
        return Ending(EXIT, _exit_code(error.code))
    reason = message_of(error)
    return Ending(error_type_of(error), evidence={"exception": reason} if reason else {})


def _exit_code(code: Any) -> int:
    # As the interpreter has it: what is neither nothing nor a number is printed, and the status is 1.
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def own_death(job: Job, ending: Ending, reader: ResourceReader | None) -> EventRow:
    """Return the event that tells of the end of this process's work, otherwise than by success."""
    from pipespan.model.certificate import Death, death_event  # noqa: PLC0415 - most work ends well

    now = time.time_ns()
    death = Death(
        cause=ending.cause,
        died_at_unix_ns=now,
        found_at_unix_ns=now,
        found_by="the process itself",
        exit_code=ending.exit_code,
        exit_signal=ending.exit_signal,
        evidence=ending.evidence,
        last_logs=job.last_messages(),
        samples=_samples(reader),
    )
    nodes = [_open_node(node) for node in list(job.open_nodes.values())]
    return death_event(death, job.experiment.id, job.id, nodes, where=job.where)


def _open_node(node: Node) -> dict[str, Any]:
    return {
        "node_id": node.node_id,
        "level": node.level,
        "completed": node.completed,
        "total": node.total,
        "unit": node.unit,
        "message": node.text,
    }


def _samples(reader: ResourceReader | None) -> list[dict[str, Any]]:
    try:
        sample = None if reader is None else reader.sample()
    except Exception:  # noqa: BLE001 - psutil may fail in many ways, and the end must be told without it
        return []
    if sample is None:
        return []
    return [
        {
            "at_unix_ns": sample.timestamp,
            "memory_rss_bytes": sample.memory_rss_bytes,
            "cpu_percent": round(sample.cpu_percent, 1),
            "threads": sample.thread_count,
        }
    ]
