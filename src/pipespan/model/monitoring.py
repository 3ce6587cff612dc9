"""What a process's recording cost and did, as its job's row carries it, and its sum over processes; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

MONITORING_KEY: Final = "monitoring"
"""Key of a job's `evidence` under which the figures stand, as of the row's heartbeat."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Figures of one process or of several.

    Attributes:
        accepted: rows that were recorded.
        shipped: rows that the database has acknowledged.
        waiting: rows that are on their way.
        dropped: rows that were let go because a bound was reached.
        rejected: rows that the database refused.
        failed: rows that could not be made; a bug of ours.
        spool_bytes: what the spool takes on disk.
        cpu_s: CPU time of pipespan's own threads.
        job_cpu_s: CPU time of the whole process, those included.
    """

    accepted: int = 0
    shipped: int = 0
    waiting: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    spool_bytes: int = 0
    cpu_s: float = 0.0
    job_cpu_s: float = 0.0

    @property
    def cpu_share(self) -> float:
        """The share of pipespan's own threads in the CPU time of the job, 0 to 1."""
        return self.cpu_s / self.job_cpu_s if self.job_cpu_s > 0 else 0.0

    @property
    def lost(self) -> int:
        """Rows that are not in the database and will not be."""
        return self.dropped + self.rejected + self.failed

    def evidence(self) -> dict[str, int | float]:
        """Return the figures as a job's evidence keeps them."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def monitoring_of(jobs: Iterable[tuple[Mapping[str, Any], bool]]) -> Monitoring | None:
    """Return the sum of what jobs told, None where none did.

    Args:
        jobs: the evidence of each, and whether it is over. What was on its way when a job told its end counts as
            delivered: its end came the same way.
    """
    found = [
        _figures(given, is_over=is_over)
        for evidence, is_over in jobs
        if isinstance(given := evidence.get(MONITORING_KEY), Mapping)
    ]
    if not found:
        return None
    return Monitoring(
        **{one.name: sum(getattr(each, one.name) for each in found) for one in fields(Monitoring)}
    )


def _figures(given: Mapping[str, Any], *, is_over: bool) -> Monitoring:
    told = Monitoring(**{one.name: _number(given.get(one.name)) for one in fields(Monitoring)})
    if not is_over:
        return told
    return replace(told, shipped=told.shipped + told.waiting, waiting=0, spool_bytes=0)


def _number(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else 0
