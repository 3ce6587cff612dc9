"""The client: every question that the commands answer, as a Python call."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import IO, Any, Final, TypeVar, final

from pipespan.config import Settings, with_overrides
from pipespan.errors import UsageError
from pipespan.model.history import Artifact, PhaseRun, Throughput, TimelinePoint, Trend
from pipespan.model.records import (
    EventRecord,
    ExperimentRecord,
    JobRecord,
    LogRecord,
    MetricRecord,
    NodeRecord,
)
from pipespan.model.status import LOG_LEVELS, STATUSES, LogLevel, Status
from pipespan.query.artifacts import artifacts
from pipespan.query.ending import EndWatch
from pipespan.query.exporting import export_document, write_document
from pipespan.query.follow import Following, follow_logs
from pipespan.query.importing import ImportReport, import_document
from pipespan.query.resolve import resolve
from pipespan.query.results import Records
from pipespan.query.status import NodeView, StatusView, status
from pipespan.store.base import ErrorGroup, LogFilter, Source
from pipespan.store.chronicle import EventFilter, ExperimentFilter, MetricFilter
from pipespan.wiring.process import PROCESS
from pipespan.wiring.stores import open_import_sink, open_source

ChoiceT = TypeVar("ChoiceT", bound=str)

_FIRST: Final = datetime.min.replace(tzinfo=timezone.utc)
_LAST: Final = datetime.max.replace(tzinfo=timezone.utc)


@final
class Client:
    """Reads what was recorded; a context manager.

    An experiment is referred to as on the command line: by its name (the newest of that name), its id, the beginning
    of its id, or `last`. Nothing is written but by `import_`. Any thread may use a client; calls take turns on one
    connection, which is made at the first call, and made anew when it was lost.
    """

    def __init__(self, dsn: str | None = None) -> None:
        """Name the database; without `dsn` it is the one that the settings of this process name."""
        self._settings = _settings(dsn)
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._is_closed = False

    def __enter__(self) -> Client:
        self._ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection; the client cannot be used afterwards."""
        with self._lock:
            source, self._source = self._source, None
            self._is_closed = True
        if source is not None:
            source.close()

    def experiments(
        self,
        *,
        name: str | None = None,
        status: Status | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Records[ExperimentRecord]:
        """Return the newest experiments that match, newest first.

        Args:
            name: exactly this name.
            status: exactly this recorded status.
            tag: with this tag.
            since: started not before this time.
            until: started before this time.
            limit: at most so many.

        Raises:
            UsageError: an argument can never work.
            StoreError: the store does not answer; so do all other calls.
        """
        wanted = ExperimentFilter(name, _known(status, STATUSES), tag, _utc(since), _utc(until))
        return Records(ExperimentRecord, self._ready().select_experiments(wanted, limit=limit))

    def experiment(self, reference: str = "last") -> ExperimentRecord:
        """Return one experiment.

        Raises:
            NotFoundError: nothing answers to the reference; so do all calls that take one.
            AmbiguousError: it is the beginning of several ids.
        """
        return resolve(self._ready(), _reference(reference))

    def status(self, reference: str = "last") -> StatusView:
        """Return the whole state of an experiment at this instant: tree, health, durations, counts."""
        return status(self._ready(), _reference(reference), _now())

    def tree(self, reference: str = "last") -> tuple[NodeView, ...]:
        """Return the roots of the tree (usually one), each with its `children`, with rates and remaining times."""
        return tuple(self.status(reference).roots)

    def nodes(self, reference: str = "last") -> Records[NodeRecord]:
        """Return all nodes, each parent before its children, siblings in order of start."""
        return Records(NodeRecord, (node.record for node in self.status(reference).walk()))

    def jobs(self, reference: str = "last") -> Records[JobRecord]:
        """Return the processes that worked on an experiment, by start."""
        source = self._ready()
        return Records(JobRecord, source.jobs(resolve(source, _reference(reference)).id))

    def logs(
        self,
        reference: str = "last",
        *,
        level: LogLevel | None = None,
        search: str | None = None,
        node: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> Records[LogRecord]:
        """Return the newest log records that match, in order of time.

        With `after`, the `id` of the last record that is known, the oldest that came after it, in order of arrival:
        call it again with the last `id` of each page until a page is empty. `after=0` starts at the beginning.

        Args:
            reference: which experiment.
            level: this level and all more severe ones.
            search: text that message or traceback contain, in any case of letters; no character is special.
            node: this node and all below it.
            since: not before this time.
            until: before this time.
            limit: at most so many.
            after: only records with a higher id.
        """
        source = self._ready()
        wanted = LogFilter(
            level=_known(level, LOG_LEVELS),
            contains=search,
            node_id=node,
            since=_utc(since),
            until=_utc(until),
            after_id=after,
            limit=limit,
        )
        return Records(LogRecord, source.logs(resolve(source, _reference(reference)).id, wanted))

    def follow_logs(
        self,
        reference: str = "last",
        *,
        level: LogLevel | None = None,
        search: str | None = None,
        node: str | None = None,
        backlog: int = 100,
    ) -> Generator[LogRecord, None, None]:
        """Yield the newest `backlog` records, then all later ones as they arrive, until the experiment is over.

        Each record comes once. A database that goes away meanwhile is waited for. Other calls of this client may be
        made meanwhile.
        """
        source = self._ready()
        wanted = LogFilter(level=_known(level, LOG_LEVELS), contains=search, node_id=node, limit=backlog)
        experiment_id = resolve(source, _reference(reference)).id
        ending = EndWatch(source, experiment_id, now=_now, clock=time.monotonic)
        yield from follow_logs(source, experiment_id, wanted, Following(is_over=ending.is_over))

    def errors(self, reference: str = "last", *, limit: int = 20) -> Records[ErrorGroup]:
        """Return the errors of an experiment, those of one kind together, the most frequent kind first."""
        source = self._ready()
        experiment_id = resolve(source, _reference(reference)).id
        return Records(ErrorGroup, source.error_groups(experiment_id, limit=limit))

    def events(
        self,
        reference: str = "last",
        *,
        event_type: str | None = None,
        severity: LogLevel | None = None,
        node: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> Records[EventRecord]:
        """Return the newest events that match, in order of time; the arguments are those of `logs`."""
        source = self._ready()
        wanted = EventFilter(
            event_type=event_type,
            severity=_known(severity, LOG_LEVELS),
            node_id=node,
            since=_utc(since),
            until=_utc(until),
            after_id=after,
        )
        experiment_id = resolve(source, _reference(reference)).id
        return Records(EventRecord, source.events(experiment_id, limit=limit, wanted=wanted))

    def metrics(
        self,
        reference: str = "last",
        *,
        node: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
        after: int | None = None,
    ) -> Records[MetricRecord]:
        """Return the newest metric rows that match, in order of time; the arguments are those of `logs`.

        What nodes measured is in `custom_metrics`; a sample of a process belongs to the node that it had open.
        """
        source = self._ready()
        wanted = MetricFilter(node_id=node, since=_utc(since), until=_utc(until), after_id=after)
        experiment_id = resolve(source, _reference(reference)).id
        return Records(MetricRecord, source.metrics(experiment_id, limit=limit, wanted=wanted))

    def artifacts(
        self, reference: str = "last", *, node: str | None = None, kind: str | None = None, limit: int = 1000
    ) -> Records[Artifact]:
        """Return the newest artifacts of an experiment, in order of time."""
        source = self._ready()
        experiment_id = resolve(source, _reference(reference)).id
        return Records(Artifact, artifacts(source, experiment_id, node_id=node, kind=kind, limit=limit))

    def history(self, pipeline: str, phase: str | None = None, *, limit: int = 20) -> Records[PhaseRun]:
        """Return the runs of each phase of all experiments of one name, newest first, at most `limit` of each."""
        return Records(PhaseRun, self._ready().phase_history(pipeline, phase, limit=limit))

    def trends(self, pipeline: str, phase: str | None = None, *, last: int = 20) -> Records[Trend]:
        """Return for each phase how duration, peak memory, CPU time and errors went over its `last` runs."""
        return Records(Trend, self._ready().phase_trends(pipeline, phase, last=last))

    def timeline(
        self, reference: str = "last", *, points: int = 200, node: str | None = None
    ) -> Records[TimelinePoint]:
        """Return memory, CPU and disk of each process of an experiment, in at most `points` stretches of time."""
        if points < 1:
            raise UsageError(f"{points} points are not possible; give at least 1")
        source = self._ready()
        experiment_id = resolve(source, _reference(reference)).id
        return Records(TimelinePoint, source.resource_timeline(experiment_id, points=points, node_id=node))

    def throughput(self, reference: str = "last") -> Records[Throughput]:
        """Return how fast the nodes of an experiment worked that count units."""
        source = self._ready()
        return Records(Throughput, source.node_throughput(resolve(source, _reference(reference)).id))

    def export(self, reference: str = "last") -> dict[str, Any]:
        """Return an experiment with all its rows as one document that `json.dumps` takes."""
        source = self._ready()
        return export_document(source, resolve(source, _reference(reference)).id)

    def export_to(self, stream: IO[str], reference: str = "last") -> None:
        """Write the document of `export` as JSON; it is never held whole, so that it may be of any size."""
        source = self._ready()
        write_document(source, resolve(source, _reference(reference)).id, stream.write)

    def import_(self, document: Mapping[str, Any]) -> ImportReport:
        """Write an exported experiment into this database, whole; the same document again changes nothing.

        Raises:
            DocumentError: it cannot be understood; nothing was written.
            ConflictError: the experiment is there already with another content; nothing was written.
        """
        source = self._ready()
        sink = open_import_sink(self._settings)
        try:
            return import_document(document, source, sink)
        finally:
            sink.close()

    def _ready(self) -> Source:
        with self._lock:
            if self._is_closed:
                raise UsageError("this client is closed; make a new one")
            if self._source is None:
                self._source = open_source(self._settings)
            return self._source


def _settings(dsn: str | None) -> Settings:
    settings = PROCESS.settings()
    return settings if dsn is None else with_overrides(settings, dsn=dsn)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _reference(reference: str) -> str:
    if not isinstance(reference, str):
        raise UsageError(f"{reference!r} is no reference to an experiment; give its name, its id, or 'last'")
    return reference


def _known(value: ChoiceT | None, known: tuple[ChoiceT, ...]) -> ChoiceT | None:
    if value is not None and value not in known:
        raise UsageError(f"unknown {value!r}; use one of {', '.join(known)}")
    return value


def _utc(moment: datetime | None) -> datetime | None:
    """Return a time in UTC; one that has no zone may mean any."""
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise UsageError(
            f"{moment!r} has no time zone; use datetime.now(timezone.utc) or another aware datetime"
        )
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:  # beyond the years 1 and 9999 in UTC
        return _FIRST if moment.year == 1 else _LAST
