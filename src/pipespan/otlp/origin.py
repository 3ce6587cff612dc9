"""Whose telemetry it is: the experiment and the job that a resource and a record belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid5

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.clean import clean_value
from pipespan.model.rows import ExperimentRow, JobRow, Row

_NAMESPACE: Final = UUID("b1a6c7f4-4c0b-5b0e-9d0a-6f2f1d8e7a31")
"""Under which ids of jobs and of experiments without a trace are made: the same sender has the same ids again."""

_INSTANCE: Final = ("service.namespace", "service.name", "service.instance.id", "host.name", "process.pid")
_UNNAMED: Final = "unknown_service"
_MAX_PID: Final = 2**31


@dataclass(frozen=True, slots=True)
class Place:
    """The node of a record, as far as it is known."""

    experiment_id: str
    job_id: str | None
    node_id: str | None


@dataclass(slots=True)
class Origin:
    """One resource: a process, most of the time.

    Attributes:
        attributes: of the resource.
        seen: for each experiment that it told of, the first and the last time, and whether it is pipespan's own.
    """

    attributes: Mapping[str, Any]
    seen: dict[str, _Seen] = field(default_factory=dict)

    def place(
        self, attributes: Mapping[str, Any], trace_id: str | None, node_id: str | None, time_unix_ns: int
    ) -> Place:
        """Return where a record belongs, and note that it came.

        Args:
            attributes: of the record; pipespan's own name experiment, job and node.
            trace_id: of the record, in hex.
            node_id: where the record names none itself.
            time_unix_ns: of the record, 0 when unknown.
        """
        experiment_id = _uuid(attributes.get(semconv.EXPERIMENT_ID))
        if experiment_id is None:  # a program inside of somebody else's trace was told by `child_env`
            experiment_id = _uuid(self.attributes.get(semconv.EXPERIMENT_ID))
        if experiment_id is None and trace_id is not None:
            experiment_id = str(UUID(hex=trace_id))
        if experiment_id is None:
            experiment_id = str(uuid5(_NAMESPACE, self._instance()))
        job_id = _uuid(attributes.get(semconv.JOB_ID))
        seen = self.seen.get(experiment_id)
        if seen is None:
            seen = self.seen[experiment_id] = _Seen(trace_id)
        seen.note(time_unix_ns, is_ours=job_id is not None)
        named = attributes.get(semconv.NODE_ID)
        return Place(
            experiment_id, job_id or self.job_id(experiment_id), named if isinstance(named, str) else node_id
        )

    def job_id(self, experiment_id: str) -> str:
        """Return the job of this resource in an experiment."""
        return str(uuid5(UUID(experiment_id), self._instance()))

    def rows(self) -> list[Row]:
        """Return the rows that experiments and jobs need so that others can refer to them.

        Stubs: whoever knows more has a higher attempt or version. A process of pipespan sends its own job row.
        """
        made: list[Row] = []
        for experiment_id, seen in self.seen.items():
            made.append(self._experiment(experiment_id, seen))
            if not seen.is_ours:
                made.append(self._job(experiment_id, seen))
        return made

    def _experiment(self, experiment_id: str, seen: _Seen) -> ExperimentRow:
        return ExperimentRow(
            id=experiment_id, name=self.service_name(), status="running", params={}, tags=(), command=None,
            host=None, user_name=None, git_commit=None, started_at=seen.first, ended_at=None,
            trace_id=seen.trace_id, attempt=0, version=0,
        )  # fmt: skip

    def _job(self, experiment_id: str, seen: _Seen) -> JobRow:
        pid = self.attributes.get("process.pid")
        is_pid = isinstance(pid, int) and not isinstance(pid, bool) and 0 <= pid < _MAX_PID
        return JobRow(
            id=self.job_id(experiment_id), experiment_id=experiment_id, attempt=1, parent_job_id=None,
            host=self._text("host.name") or "", boot_id=None, pid=pid if is_pid and pid is not None else 0,
            process_started_at=None, status="running", cause=None, exit_code=None, exit_signal=None,
            evidence={"resource": clean_value(dict(self.attributes)), "via": "otlp"},
            command=self._text("process.command_line") or self._text("process.command"),
            started_at=seen.first, heartbeat_at=seen.last, progress_at=seen.last, ended_at=None,
            log_messages=(), version=seen.last,
        )  # fmt: skip

    def service_name(self) -> str:
        """Return what the sender calls itself."""
        return self._text(semconv.SERVICE_NAME) or _UNNAMED

    def _text(self, key: str) -> str | None:
        value = self.attributes.get(key)
        return plain_text(value) if isinstance(value, str) else None

    def _instance(self) -> str:
        known = [f"{key}={self.attributes[key]}" for key in _INSTANCE if key in self.attributes]
        if not any(key in self.attributes for key in ("service.instance.id", "process.pid")):
            # Nothing says which process it is: all that is said must do.
            everything = repr(sorted((key, repr(value)) for key, value in self.attributes.items()))
            known.append(hashlib.sha256(everything.encode("utf-8", "surrogatepass")).hexdigest())
        return "\n".join(known)


@dataclass(slots=True)
class _Seen:
    trace_id: str | None
    first: int = 0
    last: int = 0
    is_ours: bool = False

    def note(self, time_unix_ns: int, *, is_ours: bool) -> None:
        self.is_ours = self.is_ours or is_ours
        if time_unix_ns > 0:
            self.first = min(self.first or time_unix_ns, time_unix_ns)
            self.last = max(self.last, time_unix_ns)


def _uuid(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return str(UUID(value))
    except ValueError:
        return None
