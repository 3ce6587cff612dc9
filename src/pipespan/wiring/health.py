"""What pipespan tells of itself: rows taken, delivered, waiting, lost, what they wait for, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipespan.model.monitoring import Monitoring

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
        failed_rows: rows that could not be made or encoded, such as a log record at the very limit of recursion.
        spool_bytes: what this process's part of the spool takes on disk, delivered rows included.
        spool_max_bytes: what it may grow to.
        cpu_s: CPU time of pipespan's own threads, in seconds. What a call of pipespan takes in the thread that
            calls is not in it.
        cpu_share: that time as a share of the CPU time of the whole process, 0 to 1.
        away_s: for how long the database has taken nothing although rows wait, in seconds.
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
    spool_bytes: int = 0
    spool_max_bytes: int = 0
    cpu_s: float = 0.0
    cpu_share: float = 0.0
    away_s: float = 0.0
    last_error: str | None = None
    troubles: Mapping[str, int] | None = None

    def monitoring(self) -> Monitoring:
        """Return the figures that the job's row tells."""
        return Monitoring(
            accepted=self.accepted_rows,
            shipped=self.shipped_rows,
            waiting=self.waiting_rows,
            dropped=self.dropped_rows,
            rejected=self.rejected_rows,
            failed=self.failed_rows,
            spool_bytes=self.spool_bytes,
            cpu_s=self.cpu_s,
            job_cpu_s=time.process_time(),
        )


def health_of(runtime: Runtime | None) -> Health:
    """Return the state of `runtime`; None stands for one that is disabled or not in use."""
    if runtime is None:
        return Health(is_enabled=False)
    writer, shipper = runtime.writer, runtime.delivery.shipper
    counters, cpu_s, whole_s = writer.counters, runtime.own_cpu_s(), time.process_time()
    return Health(
        is_enabled=True,
        accepted_rows=counters.accepted,
        shipped_rows=0 if shipper is None else shipper.tally.rows,
        waiting_rows=runtime.delivery.waiting_rows(),
        waiting_bytes=writer.waiting_bytes(),
        dropped_rows=counters.dropped,
        rejected_rows=0 if shipper is None else shipper.tally.rejected,
        failed_rows=counters.failed + runtime.failed_records(),
        spool_bytes=writer.spool_bytes(),
        spool_max_bytes=writer.max_bytes,
        cpu_s=cpu_s,
        cpu_share=cpu_s / whole_s if whole_s else 0.0,
        away_s=0.0 if shipper is None else shipper.away_s(),
        last_error=None if shipper is None else shipper.last_error,
        troubles=dict(runtime.notices.counts),
    )
