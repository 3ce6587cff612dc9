"""Rows of an experiment that could have been: a nightly training that ended an hour ago, with one failed step; pure."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, Row
from pipespan.model.status import LogLevel, Status

_SECOND: Final = 10**9
_LENGTH_S: Final = 42 * 60
_SEVERITY: Final[dict[LogLevel, int]] = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}

# phase, its share of the time, its steps, unit of a step
_PHASES: Final = (
    ("load", 0.1, ("read parquet", "check schema"), "files"),
    ("clean", 0.2, ("drop duplicates", "fill gaps", "join weather"), "rows"),
    ("fit", 0.6, ("epoch 1", "epoch 2", "epoch 3", "epoch 4", "epoch 5"), "batches"),
    ("report", 0.1, ("plots", "send mail"), "pages"),
)

_TRACEBACK: Final = """\
Traceback (most recent call last):
  File "/srv/train/report.py", line 57, in send_mail
    server.connect(host, port)
  File "/usr/lib/python3.12/smtplib.py", line 341, in connect
    self.sock = self._get_socket(host, port, self.timeout)
ConnectionRefusedError: [Errno 111] Connection refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/train/report.py", line 31, in report
    send_mail(summary, to=addressees)
  File "/srv/train/report.py", line 61, in send_mail
    raise MailError(f"cannot reach {host}") from error
train.report.MailError: cannot reach mail.example.org"""


@dataclass(slots=True)
class _Sample:
    experiment_id: str
    name: str
    root: str
    start_ns: int
    chance: random.Random
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def end_ns(self) -> int:
        return self.start_ns + _LENGTH_S * _SECOND

    def rows(self) -> Iterator[Row]:
        yield self._experiment()
        yield self._job()
        yield self._node(self.root, None, "completed", self.start_ns, self.end_ns)
        began = self.start_ns
        for phase, share, steps, unit in _PHASES:
            ended = began + int(share * _LENGTH_S * _SECOND)
            yield from self._phase(phase, steps, unit, began, ended)
            began = ended
        yield from self._metrics()

    def _experiment(self) -> ExperimentRow:
        return ExperimentRow(
            id=self.experiment_id,
            name=self.name,
            status="completed",
            params={"learning_rate": 0.003, "epochs": 5, "dataset": "rides-2025"},
            tags=("sample",),
            command="python train.py --epochs 5",
            host="sample-host",
            user_name="sample",
            git_commit=None,
            started_at=self.start_ns,
            ended_at=self.end_ns,
            trace_id=uuid.UUID(self.experiment_id).hex,
            attempt=1,
            version=self.end_ns,
        )

    def _job(self) -> JobRow:
        return JobRow(
            id=self.job_id,
            experiment_id=self.experiment_id,
            attempt=1,
            parent_job_id=None,
            host="sample-host",
            boot_id=None,
            pid=4242,
            process_started_at=self.start_ns,
            status="completed",
            cause=None,
            exit_code=0,
            exit_signal=None,
            evidence={},
            command="python train.py --epochs 5",
            started_at=self.start_ns,
            heartbeat_at=self.end_ns,
            progress_at=self.end_ns,
            ended_at=self.end_ns,
            log_messages=("the report could not be sent",),
            version=self.end_ns,
        )

    def _phase(self, phase: str, steps: tuple[str, ...], unit: str, began: int, ended: int) -> Iterator[Row]:
        place = f"{self.root}/{phase}"
        yield self._node(place, self.root, "completed", began, ended)
        yield self._log(place, began, "INFO", f"{phase} begins")
        length = (ended - began) // len(steps)
        for number, step in enumerate(steps):
            yield from self._step(f"{place}/{step}", place, unit, began + number * length, length)
        yield self._log(place, ended, "INFO", f"{phase} took {(ended - began) / _SECOND:.0f} s")

    def _step(self, place: str, parent: str, unit: str, began: int, length: int) -> Iterator[Row]:
        has_failed = place.endswith("/send mail")
        total = self.chance.randrange(40, 4_000)
        yield self._node(
            place, parent, "failed" if has_failed else "completed", began, began + length,
            total=total, done=total // 3 if has_failed else total, unit=unit,
        )  # fmt: skip
        for part in range(1, 20):
            at = began + length * part // 20
            yield self._log(
                place, at, "DEBUG" if part % 4 else "INFO", f"{total * part // 20} of {total} {unit} done"
            )
        if place.endswith("/fill gaps"):
            yield self._log(place, began + length // 2, "WARNING", "column 'wind' is empty in 312 rows")
        if place.endswith("/epoch 5"):
            yield self._event(
                place, began + length, "artifact", "model.safetensors", {"size_bytes": 48_211_968}
            )
        if has_failed:
            yield self._log(
                place, began + length, "ERROR", "the report could not be sent",
                traceback=_TRACEBACK, error_type="train.report.MailError",
            )  # fmt: skip
            yield self._event(place, began + length, "note", "the report waits in outbox/", {})

    def _metrics(self) -> Iterator[Row]:
        for second in range(0, _LENGTH_S, 10):
            part = second / _LENGTH_S
            is_fitting = 0.3 < part < 0.9
            yield MetricRow(
                experiment_id=self.experiment_id,
                job_id=self.job_id,
                node_id=None,
                timestamp=self.start_ns + second * _SECOND,
                memory_mb=round(420 + 2600 * min(part / 0.3, 1) + self.chance.uniform(-20, 20), 1),
                cpu_percent=round((380 if is_fitting else 95) + self.chance.uniform(-15, 15), 1),
                disk_usage_mb=round(61_440 + 900 * part, 1),
                throughput_per_sec=round(self.chance.uniform(11, 14), 2) if is_fitting else None,
                custom_metrics={"loss": round(0.1 + math.exp(-6 * (part - 0.3)), 4)} if is_fitting else None,
            )

    def _node(
        self, place: str, parent: str | None, status: Status, began: int, ended: int,
        *, total: int | None = None, done: int = 0, unit: str | None = None,
    ) -> NodeRow:  # fmt: skip
        return NodeRow(
            experiment_id=self.experiment_id,
            node_id=place,
            node_level="pipeline" if parent is None else "phase" if parent == self.root else "step",
            parent_id=parent,
            node_name=place if parent is None else place.removeprefix(f"{parent}/"),
            status=status,
            completed_units=done,
            total_units=total,
            unit=unit,
            weight=1.0,
            message="cannot reach mail.example.org" if status == "failed" else None,
            error_type="train.report.MailError" if status == "failed" else None,
            start_time=began,
            end_time=ended,
            metadata={},
            trace_id=uuid.UUID(self.experiment_id).hex,
            span_id=f"{self.chance.getrandbits(64):016x}",
            job_id=self.job_id,
            attempt=1,
            version=ended,
        )

    def _log(
        self, place: str, at: int, level: LogLevel, message: str,
        *, traceback: str | None = None, error_type: str | None = None,
    ) -> LogRow:  # fmt: skip
        return LogRow(
            experiment_id=self.experiment_id,
            job_id=self.job_id,
            node_id=place,
            timestamp=at,
            level=level,
            severity_number=_SEVERITY[level],
            logger_name="train",
            message=message,
            context={"dataset": "rides-2025"},
            traceback=traceback,
            error_type=error_type,
            performance=None,
            trace_id=uuid.UUID(self.experiment_id).hex,
            span_id=None,
        )

    def _event(
        self, place: str, at: int, event_type: str, title: str, details: dict[str, object]
    ) -> EventRow:
        return EventRow(
            experiment_id=self.experiment_id,
            job_id=self.job_id,
            node_id=place,
            event_type=event_type,
            source="sample",
            severity="INFO",
            title=title,
            details=details,
            timestamp=at,
        )


def sample_rows(experiment_id: str, name: str, now_ns: int) -> Iterator[Row]:
    """Yield the rows of a run that ended an hour before `now_ns`; a slash in a name would part the ids of nodes."""
    root = name.replace("/", "_")
    start_ns = now_ns - (_LENGTH_S + 3600) * _SECOND
    yield from _Sample(experiment_id, name, root, start_ns, random.Random(experiment_id)).rows()  # noqa: S311 - no secret
