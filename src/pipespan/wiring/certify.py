"""Writes the death certificates of the jobs of orphaned streams, each exactly once, whoever finds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipespan.errors import NotFoundError, OffsetError, RefusedError
from pipespan.model.certificate import DEATH, MAX_LOGS, Death, certificate
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.resolve import by_id
from pipespan.spool.lastwords import last_logs, last_samples
from pipespan.spool.layout import LANES, segments
from pipespan.spool.openjobs import read_open_jobs
from pipespan.spool.orphans import Waiting
from pipespan.spool.owner import this_process
from pipespan.store.base import Batch, LogFilter, StreamKey
from pipespan.store.copytext import encode_rows
from pipespan.wiring.inquest import Finding, hold_inquest

if TYPE_CHECKING:
    from pipespan.model.rows import Row
    from pipespan.spool.notices import Notices
    from pipespan.store.base import Sink, Source

UNSETTLED_KEPT_S: Final = 7 * 24 * 3600.0
"""A delivered stream whose process cannot be looked at from here is kept so long for one who can."""

LEAVE_TO_WATCHER_S: Final = 15.0
"""A death without evidence of how it came is left to the watcher for so long, which may know more."""

SECOND_LOOK_S: Final = 1.0
"""Without a watcher such a death is looked at again after this: its parent may be about to note the exit status."""

_SEARCHED_LOGS: Final = 1000
_SAMPLES: Final = 3


@dataclass(slots=True)
class Certifier:
    """Settles delivered orphans (`ShipperConfig.settle`).

    Attributes:
        open_source: opens the store for reading.
        found_by: who this is, for the record.
        notices: where troubles are told.
        gate: hides secrets.
        has_watcher: whether a watcher looks after these streams, which may know more than can be found here.
        is_patient: whether there will be another look soon.
    """

    open_source: Callable[[], Source]
    found_by: str
    notices: Notices
    has_watcher: Callable[[], bool]
    gate: Callable[[Row], Row]
    is_patient: bool = False
    _first_seen: dict[str, float] | None = None

    def settle(self, found: Waiting, sink: Sink) -> bool:
        """Certify the jobs that the stream's process left open; return whether the stream may go.

        Raises:
            StoreError: the store cannot take it now.
        """
        jobs = read_open_jobs(found.folder)
        if not jobs:
            return True
        finding = hold_inquest(found.folder, found.meta, this_process())
        if finding.fate not in ("gone", "rebooted"):
            return _is_forgotten(found.folder)
        if not finding.is_sure and self._should_wait(found, finding):
            return False
        source = self.open_source()
        try:
            for job_id, experiment_id in jobs.items():
                self._certify(source, sink, found, finding, job_id, experiment_id)
        finally:
            source.close()
        return True

    def _should_wait(self, found: Waiting, finding: Finding) -> bool:
        silent_s = time.time() - finding.died_at_unix_ns / 1e9
        if self.has_watcher():
            return silent_s < LEAVE_TO_WATCHER_S
        if not self.is_patient or silent_s >= LEAVE_TO_WATCHER_S:
            return False
        if self._first_seen is None:
            self._first_seen = {}
        now = time.monotonic()
        return now - self._first_seen.setdefault(found.meta.stream_id, now) < SECOND_LOOK_S

    def _certify(
        self, source: Source, sink: Sink, found: Waiting, finding: Finding, job_id: str, experiment_id: str
    ) -> None:
        job = next((one for one in source.jobs(experiment_id) if one.id == job_id), None)
        if job is None or job.status in TERMINAL_STATUSES:
            return
        experiment = None
        with suppress(NotFoundError):
            experiment = by_id(source, experiment_id)
        death = Death(
            cause=finding.cause,
            died_at_unix_ns=finding.died_at_unix_ns,
            found_at_unix_ns=time.time_ns(),
            found_by=self.found_by,
            exit_code=finding.exit_code,
            exit_signal=finding.exit_signal,
            evidence=finding.evidence,
            last_logs=_last_messages(source, found.folder, job_id, experiment_id),
            samples=_samples(found.folder, job_id, finding.vitals),
        )
        # What others noted of the process comes past its own spool, so it passes the gate here.
        rows = [
            self.gate(row)
            for row in certificate(death, job, experiment, source.open_nodes(experiment_id, job_id))
        ]
        try:
            sink.ship(_batch(job_id, rows))
        except OffsetError:
            pass  # somebody else found it at the same time, and was faster
        except RefusedError as error:
            self.notices.trouble("certificate", f"the database refuses a death certificate ({error})")


def _batch(job_id: str, rows: list[Row]) -> Batch:
    """Return the rows as a batch that the ledger lets in once for each job."""
    return Batch(StreamKey(job_id, DEATH), 0, 1, encode_rows(rows))


def _last_messages(source: Source, folder: Path, job_id: str, experiment_id: str) -> tuple[str, ...]:
    # What is left on disk is the process's own. Where its segments were just exchanged there is little of it.
    logs: list[Any] = list(last_logs(folder, job_id, MAX_LOGS))
    if len(logs) < MAX_LOGS and any(
        segment.start_bytes for lane in LANES for segment in segments(folder, lane)
    ):
        newest = source.logs(experiment_id, LogFilter(limit=_SEARCHED_LOGS))
        stored = [log for log in newest if log.job_id == job_id][-MAX_LOGS:]
        logs = max(logs, stored, key=len)
    return tuple(f"{log.level} {log.message}" for log in logs)


def _samples(folder: Path, job_id: str, vitals: dict[str, Any]) -> list[dict[str, Any]]:
    found = last_samples(folder, job_id, _SAMPLES)
    return [*found, vitals] if vitals else found


def _is_forgotten(folder: Path) -> bool:
    """Tell whether a stream has been kept in vain for long; what is left of it until then takes no room."""
    newest = 0.0
    for lane in LANES:
        for segment in segments(folder, lane):
            with suppress(OSError):
                newest = max(newest, segment.path.stat().st_mtime)
                segment.path.unlink()
    with suppress(OSError):
        newest = newest or folder.stat().st_mtime
    return time.time() - newest > UNSETTLED_KEPT_S
