"""Alarms of the monitoring itself: what goes wrong with it becomes an event of the run that it was to watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipespan.model.rows import EventRow
from pipespan.record.extras import SOURCE

if TYPE_CHECKING:
    from pipespan.model.status import LogLevel
    from pipespan.record.recorder import Recorder
    from pipespan.spool.shipper import Shipper
    from pipespan.wiring.health import Health

ALARM: Final = "alarm"
"""Type of these events; `details` name the kind under `alarm`."""

NEAR_SHARE: Final = 0.8
"""A spool that is so full of waiting rows is near its bound."""

CLOCK_JUMP_S: Final = 5.0
"""A step of the wall clock that is larger is told of."""

SLOW_BATCH_S: Final = 2.0
"""A batch that takes the database longer is told of."""

FIRST_PAUSE_S: Final = 60.0
MAX_PAUSE_S: Final = 3600.0
"""An alarm of one kind is repeated after a pause that doubles from the first to the longest."""

_MB: Final = 1_000_000


class Alarm(NamedTuple):
    """Something to tell."""

    kind: str
    title: str
    details: dict[str, Any]
    severity: LogLevel = "WARNING"


class Alarms:
    """Looks what became worse since it looked last; called by the ticker's thread, and once at the end.

    Args:
        recorder: gives the one that is in use, to whose jobs it is told.
        health: gives the state of the recording.
        shipper: gives what ships, None where nothing does.
        away_after_s: the database may take nothing for so long before it is told of.
        clocks: monotonic and wall time, both in seconds.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder],
        health: Callable[[], Health],
        shipper: Callable[[], Shipper | None],
        away_after_s: float,
        clocks: Callable[[], tuple[float, float]] = lambda: (time.monotonic(), time.time()),
    ) -> None:
        self._recorder = recorder
        self._health = health
        self._shipper = shipper
        self._away_after_s = away_after_s
        self._clocks = clocks
        self._told: dict[str, int] = {}
        self._pauses: dict[str, tuple[float, float]] = {}
        self._offset_s: float | None = None
        self._longest_away_s = 0.0
        self._is_away_told = False

    def look(self) -> None:
        """Tell what is new; never raises."""
        recorder = self._recorder()
        try:
            now_s, wall_s = self._clocks()
            for alarm in [*self._of_rows(), *self._of_database(), *self._of_clock(wall_s - now_s)]:
                if self._is_time(alarm.kind, now_s):
                    self._tell(recorder, alarm)
        except Exception as trouble:  # noqa: BLE001 - an alarm of ours must not become a trouble of the program's
            recorder.notices.trouble("alarms", f"looking after the recording failed: {trouble!r}")

    def _tell(self, recorder: Recorder, alarm: Alarm) -> None:
        for job in recorder.jobs:
            recorder.write(
                EventRow(
                    experiment_id=job.experiment.id,
                    job_id=job.id,
                    node_id=None,
                    event_type=ALARM,
                    source=SOURCE,
                    severity=alarm.severity,
                    title=f"pipespan: {alarm.title}",
                    details={"alarm": alarm.kind, **alarm.details},
                    timestamp=time.time_ns(),
                )
            )

    def _is_time(self, kind: str, now_s: float) -> bool:
        next_s, pause_s = self._pauses.get(kind, (now_s, FIRST_PAUSE_S))
        if now_s < next_s:
            return False
        self._pauses[kind] = (now_s + pause_s, min(pause_s * 2, MAX_PAUSE_S))
        return True

    def _more(self, kind: str, count: int, now_s: float) -> int:
        """Return how many came since they were told last, 0 while it is too early to tell again."""
        more = count - self._told.get(kind, 0)
        next_s, _ = self._pauses.get(kind, (now_s, 0.0))
        if more <= 0 or now_s < next_s:
            return 0
        self._told[kind] = count
        return more

    def _of_rows(self) -> Iterator[Alarm]:
        health, now_s = self._health(), self._clocks()[0]
        facts = {"waiting_bytes": health.waiting_bytes, "spool_max_bytes": health.spool_max_bytes}
        share = health.waiting_bytes / max(health.spool_max_bytes, 1)
        if share >= NEAR_SHARE:
            full = f"{health.waiting_bytes / _MB:,.1f} of {health.spool_max_bytes / _MB:,.1f} MB wait"
            yield Alarm("spool", f"the spool is nearly full: {full}", facts)
        for kind, count, what in (
            ("dropped", health.dropped_rows, "were dropped, because a bound was reached"),
            ("rejected", health.rejected_rows, "were refused by the database, and are kept in a file"),
            ("failed", health.failed_rows, "could not be recorded"),
        ):
            if more := self._more(kind, count, now_s):
                yield Alarm(kind, f"{more} rows {what}", {"rows": more, "rows_in_all": count, **facts})

    def _of_database(self) -> Iterator[Alarm]:
        shipper = self._shipper()
        if shipper is None:
            return
        away_s, slowest_s = shipper.away_s(), shipper.take_slowest_s()
        if away_s >= self._away_after_s:
            self._is_away_told, self._longest_away_s = True, away_s
            reason = shipper.last_error or "it does not answer"
            details = {"away_s": round(away_s, 1), "reason": reason}
            yield Alarm("away", f"the database has taken nothing for {away_s:.0f} s: {reason}", details)
        elif self._is_away_told and away_s == 0:
            self._is_away_told = False
            details = {"away_s": round(self._longest_away_s, 1)}
            yield Alarm(
                "back", f"the database is back after {self._longest_away_s:.0f} s or more", details, "INFO"
            )
        if slowest_s >= SLOW_BATCH_S:
            yield Alarm(
                "slow",
                f"the database took {slowest_s:.1f} s for one batch",
                {"slowest_s": round(slowest_s, 3)},
            )
        if shipper.stray_rows > self._told.get("default-partition", 0):
            self._told["default-partition"] = shipper.stray_rows
            title = (
                f"{shipper.stray_rows} rows went into a default partition; `pipespan db doctor` tells more"
            )
            yield Alarm("default-partition", title, {"rows": shipper.stray_rows})

    def _of_clock(self, offset_s: float) -> Iterator[Alarm]:
        before, self._offset_s = self._offset_s, offset_s
        step_s = 0.0 if before is None else offset_s - before
        if abs(step_s) >= CLOCK_JUMP_S:
            how = "was set back by" if step_s < 0 else "went forward, or the machine slept, by"
            yield Alarm("clock", f"the clock {how} {abs(step_s):,.0f} s", {"step_s": round(step_s, 3)})
