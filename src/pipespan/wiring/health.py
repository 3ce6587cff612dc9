"""What pipespan tells of itself: rows taken, delivered, waiting, lost, and what they wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipespan.wiring.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Health:
    """State of this process's recording.

    Attributes:
        is_enabled: whether anything is recorded at all.
        accepted_rows: rows that were recorded.
        shipped_rows: rows that the database has acknowledged.
        waiting_rows: rows that are on their way.
        waiting_bytes: what these take on disk or in memory.
        dropped_rows: rows that were let go because a bound was reached.
        rejected_rows: rows that the database refused; they are kept in a file.
        failed_rows: rows that could not be encoded; a bug of ours.
        last_error: why nothing is delivered, None when all is well.
        troubles: how often which kind of trouble was met.
    """

    is_enabled: bool
    accepted_rows: int = 0
    shipped_rows: int = 0
    waiting_rows: int = 0
    waiting_bytes: int = 0
    dropped_rows: int = 0
    rejected_rows: int = 0
    failed_rows: int = 0
    last_error: str | None = None
    troubles: Mapping[str, int] | None = None


def health_of(runtime: Runtime | None) -> Health:
    """Return the state of `runtime`; None stands for one that is disabled or not in use."""
    if runtime is None:
        return Health(is_enabled=False)
    counters, shipper = runtime.writer.counters, runtime.shipper
    return Health(
        is_enabled=True,
        accepted_rows=counters.accepted,
        shipped_rows=0 if shipper is None else shipper.tally.rows,
        waiting_rows=runtime.waiting_rows(),
        waiting_bytes=runtime.writer.waiting_bytes(),
        dropped_rows=counters.dropped,
        rejected_rows=0 if shipper is None else shipper.tally.rejected,
        failed_rows=counters.failed,
        last_error=None if shipper is None else shipper.last_error,
        troubles=dict(runtime.notices.counts),
    )
