"""Whose telemetry it is: the experiment and the job that a resource and a record belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid5

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.clean import clean_value
from pipespan.model.rows import ExperimentRow, JobRow, Row
from pipespan.model.status import TERMINAL_STATUSES, Status
from pipespan.otlp.values import attributes_of

if TYPE_CHECKING:
    from pipespan.otlp.envelope import Group

VIA: Final = "via"
OTLP: Final = "otlp"
"""In a job's `evidence`: that its telemetry came this way, and what its resource said of it."""

_NAMESPACE: Final = UUID("b1a6c7f4-4c0b-5b0e-9d0a-6f2f1d8e7a31")
"""Under which ids of jobs and of experiments without a trace are made: the same sender has the same ids again."""

_INSTANCE: Final = ("service.namespace", "service.name", "service.instance.id", "host.name", "process.pid")
_UNNAMED: Final = "unknown_service"
_MAX_PID: Final = 2**31


class Place(NamedTuple):
    """The node of a record, as far as it is known."""

    experiment_id: str
    job_id: str | None
    node_id: str | None


@dataclass(slots=True)
class Seen:
    """What one resource told of one experiment.

    Attributes:
        trace_id: None where it told outside of a trace.
        job_id: of the resource in this experiment, where records name none of pipespan's.
        first: earliest time.
        last: latest time.
        jobs: of pipespan, that records named.
        is_foreign: whether there were records that named none.
        ended: time and status of the root, once it has ended.
    """

    trace_id: str | None
    job_id: str
    first: int = 0
    last: int = 0
    jobs: set[str] = field(default_factory=set)
    is_foreign: bool = False
    ended: tuple[int, Status] | None = None

    def note(self, time_unix_ns: int) -> None:
        """Note that there was a record of this time."""
        self.last = max(self.last, time_unix_ns)
        if time_unix_ns > 0 and (time_unix_ns < self.first or not self.first):
            self.first = time_unix_ns

    def end(self, time_unix_ns: int, status: Status) -> None:
        """Note that the root has ended: with it ends what the process did here."""
        if status in TERMINAL_STATUSES:
            self.ended = max(self.ended or (0, status), (time_unix_ns, status))


class Origin:
    """One resource: a process, most of the time.

    Args:
        resource: its message.
        now_unix_ns: a heart cannot beat later than now, and what has no time has this one.

    Attributes:
        attributes: of the resource.
    """

    def __init__(self, resource: Any, now_unix_ns: int) -> None:
        self.attributes: Mapping[str, Any] = attributes_of(resource.attributes)
        self._now = now_unix_ns
        self._instance = _instance(self.attributes)
        # A program inside of somebody else's trace was told by `child_env`.
        told = self.attributes.get(semconv.EXPERIMENT_ID)
        self._told = None if told is None else _uuid(told)
        self._seen: dict[str, Seen] = {}
        self._by_trace: dict[str | None, str] = {}

    def place(
        self, attributes: Mapping[str, Any], trace_id: str | None, node_id: str | None, time_unix_ns: int, *,
        is_ours: bool = False,
    ) -> Place:  # fmt: skip
        """Return where a record belongs, and note that it came.

        Args:
            attributes: of the record; pipespan's own name experiment, job and node.
            trace_id: of the record, in hex.
            node_id: where the record names none itself.
            time_unix_ns: of the record, 0 when unknown.
            is_ours: a process of pipespan sent it, which tells elsewhere which job it is: none is made up for it.
        """
        named = attributes.get(semconv.EXPERIMENT_ID)
        experiment_id = (_uuid(named) if named is not None else None) or self.experiment_of(trace_id)
        seen = self.seen(experiment_id, trace_id)
        seen.note(time_unix_ns)
        job = attributes.get(semconv.JOB_ID)
        job_id = _uuid(job) if job is not None else None
        if job_id is not None:
            seen.jobs.add(job_id)
        elif not is_ours:
            seen.is_foreign = True
            job_id = seen.job_id
        node = attributes.get(semconv.NODE_ID)
        return Place(experiment_id, job_id, node if isinstance(node, str) else node_id)

    def experiment_of(self, trace_id: str | None) -> str:
        """Return the experiment that the sender names, else that of a trace; without one, of this sender."""
        if self._told is not None:
            return self._told
        known = self._by_trace.get(trace_id)
        if known is None:
            made = uuid5(_NAMESPACE, self._instance) if trace_id is None else UUID(hex=trace_id)
            known = self._by_trace[trace_id] = str(made)
        return known

    def seen(self, experiment_id: str, trace_id: str | None = None) -> Seen:
        """Return what this resource told of an experiment so far."""
        found = self._seen.get(experiment_id)
        if found is None:
            job_id = str(uuid5(UUID(experiment_id), self._instance))
            found = self._seen[experiment_id] = Seen(trace_id, job_id)
        return found

    def rows(self) -> list[Row]:
        """Return the rows that experiments and jobs need so that others can refer to them.

        Whoever knows more has a higher attempt or version: attempt 0 loses against each row of pipespan's own.
        """
        made: list[Row] = []
        for experiment_id, seen in self._seen.items():
            made.append(self._experiment(experiment_id, seen))
            if seen.is_foreign:
                made.append(self._job(seen.job_id, experiment_id, seen, attempt=1))
            made += [self._job(job_id, experiment_id, seen, attempt=0) for job_id in sorted(seen.jobs)]
        return made

    def _experiment(self, experiment_id: str, seen: Seen) -> ExperimentRow:
        return ExperimentRow(
            id=experiment_id, name=self.service_name(), status="running", params={}, tags=(), command=None,
            host=None, user_name=None, git_commit=None, started_at=seen.first or self._now, ended_at=None,
            trace_id=seen.trace_id, attempt=0, version=0,
        )  # fmt: skip

    def _job(self, job_id: str, experiment_id: str, seen: Seen, *, attempt: int) -> JobRow:
        pid = self.attributes.get("process.pid")
        is_pid = isinstance(pid, int) and not isinstance(pid, bool) and 0 <= pid < _MAX_PID
        # A clock that is ahead must not keep a process alive for years.
        last = min(seen.last or self._now, self._now)
        ended_at, status = seen.ended or (None, "running")
        # No boot id, on purpose: what came over the network is never looked for among the processes here.
        return JobRow(
            id=job_id, experiment_id=experiment_id, attempt=attempt, parent_job_id=None,
            host=self._text("host.name") or "", boot_id=None, pid=pid if is_pid and pid is not None else 0,
            process_started_at=None, status=status, cause=None, exit_code=None, exit_signal=None,
            evidence={"resource": clean_value(dict(self.attributes)), VIA: OTLP},
            command=self._text("process.command_line") or self._text("process.command"),
            started_at=min(seen.first or last, last), heartbeat_at=last, progress_at=last, ended_at=ended_at,
            log_messages=(), version=last,
        )  # fmt: skip

    def service_name(self) -> str:
        """Return what the sender calls itself."""
        return self._text(semconv.SERVICE_NAME) or _UNNAMED

    def _text(self, key: str) -> str | None:
        value = self.attributes.get(key)
        return plain_text(value) if isinstance(value, str) else None


def by_resource(groups: Iterable[Group], now_unix_ns: int) -> Iterator[tuple[Origin, list[Group]]]:
    """Return groups by resource, with what is made of each resource."""
    for _, own in groupby(groups, key=lambda group: id(group.resource)):
        found = list(own)
        yield Origin(found[0].resource, now_unix_ns), found


def _instance(attributes: Mapping[str, Any]) -> str:
    known = [f"{key}={attributes[key]}" for key in _INSTANCE if key in attributes]
    if not any(key in attributes for key in ("service.instance.id", "process.pid")):
        # Nothing says which process it is: all that is said must do.
        everything = repr(sorted((key, repr(value)) for key, value in attributes.items()))
        known.append(hashlib.sha256(everything.encode("utf-8", "surrogatepass")).hexdigest())
    return "\n".join(known)


def _uuid(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return str(UUID(value))
    except ValueError:
        return None
