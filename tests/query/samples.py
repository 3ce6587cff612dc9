"""Records made by hand, and a store that answers with them: readers need no database to be tested."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from pipespan.errors import StoreUnavailableError
from pipespan.model.fingerprint import fingerprint_of_log
from pipespan.model.history import PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.records import (
    EventRecord,
    ExperimentRecord,
    JobRecord,
    LogRecord,
    MetricRecord,
    NodeRecord,
)
from pipespan.model.status import ERROR_LEVELS, NODE_LEVELS, TERMINAL_STATUSES, LogLevel, levels_at_least
from pipespan.store.base import ErrorGroup, LogFilter
from pipespan.store.chronicle import EventFilter, ExperimentFilter, MetricFilter, Snapshot

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
EXPERIMENT_ID = "3f2a9c1b-0000-4000-8000-000000000001"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def version_at(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000_000)


def experiment(**changes: Any) -> ExperimentRecord:
    values: dict[str, Any] = {
        "id": EXPERIMENT_ID,
        "name": "nightly-train",
        "status": "running",
        "params": {"lr": 0.1},
        "tags": ("nightly",),
        "command": "python train.py",
        "host": "node7",
        "user_name": "ada",
        "git_commit": None,
        "started_at": ago(600),
        "ended_at": None,
        "trace_id": None,
        "attempt": 1,
        "version": version_at(ago(600)),
        "error_count": 0,
        "created_at": ago(600),
    }
    values.update(changes)
    if values["status"] in TERMINAL_STATUSES and "ended_at" not in changes:
        values["ended_at"] = NOW
    return ExperimentRecord(**values)


def job(**changes: Any) -> JobRecord:
    values: dict[str, Any] = {
        "id": "00000000-0000-4000-8000-0000000000aa",
        "experiment_id": EXPERIMENT_ID,
        "attempt": 1,
        "parent_job_id": None,
        "host": "node7.example",
        "boot_id": "boot-1",
        "pid": 4711,
        "process_started_at": ago(601),
        "status": "running",
        "cause": None,
        "exit_code": None,
        "exit_signal": None,
        "evidence": {},
        "command": "python train.py",
        "started_at": ago(600),
        "heartbeat_at": ago(2),
        "progress_at": ago(3),
        "ended_at": None,
        "log_messages": (),
        "version": version_at(ago(2)),
    }
    values.update(changes)
    if values["status"] in TERMINAL_STATUSES and "ended_at" not in changes:
        values["ended_at"] = ago(1)
    return JobRecord(**values)


def node(node_id: str, **changes: Any) -> NodeRecord:
    """Return a running node; parent, level and name follow from its id."""
    parent_id, _, name = node_id.rpartition("/")
    values: dict[str, Any] = {
        "experiment_id": EXPERIMENT_ID,
        "node_id": node_id,
        "node_level": NODE_LEVELS[min(node_id.count("/"), 3)],
        "parent_id": parent_id or None,
        "node_name": name,
        "status": "running",
        "progress_percent": 0.0,
        "completed_units": 0,
        "total_units": None,
        "unit": None,
        "weight": 1.0,
        "message": None,
        "error_type": None,
        "start_time": ago(300),
        "end_time": None,
        "metadata": {},
        "trace_id": None,
        "span_id": None,
        "job_id": None,
        "attempt": 1,
        "version": version_at(ago(1)),
        "child_weight": 0,
        "child_sum": 0,
        "child_reached": 0,
        "created_at": ago(300),
        "updated_at": ago(1),
    }
    values.update(changes)
    total = values["total_units"]
    if "progress_percent" not in changes:
        if values["status"] == "completed":
            values["progress_percent"] = 100.0
        elif total:
            values["progress_percent"] = 100.0 * min(values["completed_units"], total) / total
    if values["status"] in TERMINAL_STATUSES and "end_time" not in changes:
        values["end_time"] = ago(10)
    if values["status"] == "pending":
        values["start_time"] = None
    return NodeRecord(**values)


def parent(node_id: str, percent: float, **changes: Any) -> NodeRecord:
    """Return a node that its children measure."""
    return node(
        node_id,
        progress_percent=percent,
        child_weight=1000,
        child_sum=int(percent * 1e10),
        child_reached=int(percent * 1e10),
        **changes,
    )


def log(log_id: int, message: str = "hello", level: LogLevel = "INFO", **changes: Any) -> LogRecord:
    values: dict[str, Any] = {
        "id": log_id,
        "experiment_id": EXPERIMENT_ID,
        "job_id": None,
        "node_id": "train/load",
        "timestamp": ago(100) + timedelta(milliseconds=log_id),
        "level": level,
        "severity_number": 9,
        "logger_name": "train",
        "message": message,
        "context": None,
        "traceback": None,
        "error_type": None,
        "performance": None,
        "trace_id": None,
        "span_id": None,
    }
    values.update(changes)
    return LogRecord(**values)


@dataclass
class ListSource:
    """Answers from lists; `outages` counts down calls that fail first."""

    found: list[ExperimentRecord] = field(default_factory=list)
    all_jobs: list[JobRecord] = field(default_factory=list)
    all_nodes: list[NodeRecord] = field(default_factory=list)
    all_logs: list[LogRecord] = field(default_factory=list)
    all_metrics: list[MetricRecord] = field(default_factory=list)
    runs: list[PhaseRun] = field(default_factory=list)
    trends: list[Trend] = field(default_factory=list)
    timeline: list[TimelinePoint] = field(default_factory=list)
    outages: int = 0
    asked_limits: list[int] = field(default_factory=list)

    def _answer(self) -> None:
        if self.outages > 0:
            self.outages -= 1
            raise StoreUnavailableError("cannot reach the database at 'nowhere'; start it")

    def experiments(self, *, limit: int) -> list[ExperimentRecord]:
        self._answer()
        return self.found[:limit]

    def find_experiments(self, reference: str, *, limit: int) -> list[ExperimentRecord]:
        self._answer()
        return [one for one in self.found if one.name == reference or one.id.startswith(reference)][:limit]

    def jobs(self, experiment_id: str) -> list[JobRecord]:
        return [one for one in self.all_jobs if one.experiment_id == experiment_id]

    def nodes(self, experiment_id: str) -> list[NodeRecord]:
        return [one for one in self.all_nodes if one.experiment_id == experiment_id]

    def error_counts(self, experiment_id: str) -> Mapping[str | None, int]:
        counts: dict[str | None, int] = {}
        for one in self.all_logs:
            if one.level in ERROR_LEVELS and one.experiment_id == experiment_id:
                counts[one.node_id] = counts.get(one.node_id, 0) + 1
        return counts

    def logs(self, experiment_id: str, wanted: LogFilter) -> list[LogRecord]:
        self._answer()
        self.asked_limits.append(wanted.limit)
        levels: Sequence[LogLevel] = levels_at_least(wanted.level or "DEBUG")
        chosen = [
            one
            for one in self.all_logs
            if one.experiment_id == experiment_id
            and one.level in levels
            and (wanted.contains or "").lower() in f"{one.message}{one.traceback}".lower()
            and (wanted.node_id is None or f"{one.node_id}/".startswith(f"{wanted.node_id}/"))
        ]
        if wanted.after_id is None:
            return sorted(chosen, key=lambda one: (one.timestamp, one.id))[-wanted.limit :]
        return sorted((one for one in chosen if one.id > wanted.after_id), key=lambda one: one.id)[
            : wanted.limit
        ]

    def open_nodes(self, experiment_id: str, job_id: str) -> list[NodeRecord]:
        nodes = self.nodes(experiment_id)
        return [node for node in nodes if node.job_id == job_id and node.status in ("pending", "running")]

    def error_groups(self, experiment_id: str, *, limit: int) -> list[ErrorGroup]:
        groups: dict[str, list[LogRecord]] = {}
        for one in self.all_logs:
            if one.level in ERROR_LEVELS and one.experiment_id == experiment_id:
                known = fingerprint_of_log(one.level, one.error_type, one.message, one.traceback)
                groups.setdefault(known or "", []).append(one)
        made = [ErrorGroup.of(known, len(logs), logs[0], logs[-1]) for known, logs in groups.items()]
        return sorted(made, key=lambda one: -one.count)[:limit]

    def select_experiments(self, wanted: ExperimentFilter, *, limit: int) -> list[ExperimentRecord]:
        return [one for one in self.found if wanted.name in (None, one.name)][:limit]

    def events(
        self, experiment_id: str, *, limit: int, wanted: EventFilter | None = None
    ) -> list[EventRecord]:
        return []

    def metrics(
        self, experiment_id: str, *, limit: int, wanted: MetricFilter | None = None
    ) -> list[MetricRecord]:
        return self.all_metrics[-limit:]

    def phase_history(self, pipeline: str, phase: str | None, *, limit: int) -> list[PhaseRun]:
        return self.runs[:limit]

    def phase_trends(self, pipeline: str, phase: str | None, *, last: int) -> list[Trend]:
        return self.trends

    def resource_timeline(
        self, experiment_id: str, *, points: int, node_id: str | None = None
    ) -> list[TimelinePoint]:
        return self.timeline

    def node_throughput(self, experiment_id: str) -> list[Throughput]:
        return []

    def experiments_of_jobs(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        return {one.id: one.experiment_id for one in self.all_jobs if one.id in job_ids}

    @contextmanager
    def snapshot(self, experiment_id: str) -> Generator[Snapshot, None, None]:
        yield Snapshot(0, iter(()))

    def close(self) -> None:
        pass
