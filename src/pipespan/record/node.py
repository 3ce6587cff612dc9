"""A live node: its state, what the user may do with it, and its rows."""

from __future__ import annotations

import time
from _thread import RLock
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from opentelemetry.context import Context

from pipespan.model.status import LogLevel, NodeLevel, Status
from pipespan.record.context import with_node
from pipespan.record.linked import MAX_LINKS, linked_ids
from pipespan.record.naming import ChildNames
from pipespan.record.options import NO_OPTIONS, NodeOptions
from pipespan.record.resources import resources_json
from pipespan.record.scope import Scope
from pipespan.record.track import Counter, Track, size_of
from pipespan.record.units import MAX_UNITS, units_of
from pipespan.store.copytext import encode_json
from pipespan.store.nodeline import NodeLine

if TYPE_CHECKING:
    from pipespan.record.job import Job
    from pipespan.record.parent import Experiment, Parent
    from pipespan.record.ports import SpanHandle
    from pipespan.record.recorder import Recorder

ItemT = TypeVar("ItemT")


class Node:
    """One node of the tree while it runs. Made by scopes (`pipespan.pipeline`, `step`, ...), not by hand."""

    # Defaults stand in the class: nodes are made on the user's time, and most never touch most of these.
    status: Status = "running"
    error_type: str | None = None
    end_ns: int | None = None
    is_ended = False
    """Whether the node has its final status."""
    is_bare = True
    """Whether nothing was said of it but its name, up to the last `take_changes`: its rows are short then."""
    memory_start_bytes = 0
    memory_peak_bytes = 0
    cpu_start_ns = 0
    resources: str | None = None
    unit: str | None = None
    weight = 1.0
    # For the stuck detector: what the program promised, and which child ended last.
    expected_s: float | None = None
    ended_child: str | None = None
    _base_units = 0
    _total: int | None = None
    _counters: tuple[Counter, ...] = ()
    _children: ChildNames | None = None
    _message: str | None = None
    _changed = False
    _told: tuple[int, int | None, str | None] | None = None
    _version = 0

    def __init__(  # noqa: PLR0913 - made in one place, on a hot path
        self, recorder: Recorder, job: Job, parent: Parent | None, name: str, node_id: str, level: NodeLevel,
        options: NodeOptions, span: SpanHandle, start_ns: int,
    ) -> None:  # fmt: skip
        self._recorder = recorder
        self.generation = recorder.generation
        # RLock: a signal handler may move the node that its own thread is just moving.
        self._lock = RLock()
        self.job = job
        self.parent = parent
        self.name = name
        self.node_id = node_id
        self.level: NodeLevel = level
        self.span = span
        self.start_ns = start_ns
        self.metadata: dict[str, Any] = {}
        if options is not NO_OPTIONS:
            self.is_bare = False
            self._total = options.total
            self.unit = None if options.unit is None else recorder.redactor.text(options.unit)
            self.weight = options.weight
            self.expected_s = options.expect_progress_every
            self.metadata.update(options.metadata or ())
        experiment = job.experiment
        self.experiment_id = experiment.id
        self.trace_id, self.span_id = (
            span.trace_id.to_bytes(16, "big").hex(),
            span.span_id.to_bytes(8, "big").hex(),
        )
        self._line = NodeLine(
            experiment.id, node_id, level, None if parent is None else parent.node_id, name,
            self.trace_id, self.span_id, job.id, experiment.attempt, start_ns,
        )  # fmt: skip

    # What others ask of it.

    @property
    def experiment(self) -> Experiment:
        """The experiment that the node belongs to."""
        return self.job.experiment

    @property
    def pipeline_name(self) -> str:
        """Name of the experiment."""
        return self.job.experiment.name

    @property
    def job_id(self) -> str:
        """UUID of the job of this process; in a forked child that is the child's own."""
        return self._recorder.jobs.below(self).id if self.is_foreign else self.job.id

    @property
    def owner_job_id(self) -> str:
        """The job that opened the node."""
        return self.job.id

    @property
    def is_foreign(self) -> bool:
        """Whether the node was opened by the process that this one was forked from."""
        return self.generation is not self._recorder.generation

    @property
    def context(self) -> Context:
        """The context in which this node and its span are the current ones.

        Made when asked for: kept here it would hold the node, and only the garbage collector could free the two.
        """
        handle = self.span
        return with_node(handle.parent, handle.span, self)

    @property
    def completed(self) -> int:
        """Units that are done."""
        units = self._base_units
        for counter in self._counters:
            units += counter.completed()
        return units

    @property
    def total(self) -> int | None:
        """Units in all, None when unknown."""
        return self._total

    @property
    def has_done_all(self) -> bool:
        """Whether all units that are known of are done: what comes then has no pace yet."""
        if self._total is not None and self.completed >= self._total:
            return True
        return bool(self._counters) and all(counter.is_exhausted for counter in self._counters)

    @property
    def text(self) -> str | None:
        """The line that is shown beside the node."""
        return self._message

    def child_id(self, name: str, key: str | None) -> str:
        """Return the id of a new child."""
        recorder, names = self._recorder, self._children
        with recorder.lock:
            if names is None or self.generation is not recorder.generation:
                names = self._names()
            return names.take(name, key)

    def _names(self) -> ChildNames:
        if self.is_foreign:
            return self._recorder.jobs.names_under(self)
        if self._children is None:
            self._children = ChildNames(self.node_id, "")
        return self._children

    # What the user does with it.

    def phase(self, name: str | None = None, **options: Any) -> Scope:
        """Open a phase below this node; see `pipespan.phase`."""
        return Scope(self._recorder.itself, "phase", name, self, options)

    def step(self, name: str | None = None, **options: Any) -> Scope:
        """Open a step below this node; see `pipespan.step`."""
        return Scope(self._recorder.itself, "step", name, self, options)

    def substep(self, name: str | None = None, **options: Any) -> Scope:
        """Open a substep below this node; see `pipespan.substep`."""
        return Scope(self._recorder.itself, "substep", name, self, options)

    @overload
    def track(
        self, items: Iterable[ItemT], *, unit: str | None = None, total: int | None = None
    ) -> Track[ItemT]: ...

    @overload
    def track(
        self, items: AsyncIterable[ItemT], *, unit: str | None = None, total: int | None = None
    ) -> Track[ItemT]: ...

    def track(self, items: Any, *, unit: str | None = None, total: int | None = None) -> Track[Any]:
        """Count the items of an iterable as units of this node while a loop takes them.

        Args:
            items: any iterable or async iterable.
            unit: what an item is called, such as "files".
            total: how many there will be; found by `len` where that works.
        """
        size = units_of(total, self.metadata) if total is not None else size_of(items)
        if not self._is_mine():
            return Track(items, self._add_counter)
        with self._lock:
            if unit is not None:
                self.unit = self._recorder.redactor.text(str(unit))
            # The first loop makes the total, further ones add to it; a total that was given stays.
            if size is not None and self._total is None:
                self._total = self._base_units + size
            elif size is not None and self._counters:
                self._total = max(self._total or 0, self.completed + size)
            self._changed = True
        return Track(items, self._add_counter)

    def _add_counter(self, counter: Counter) -> None:
        if self._is_mine():
            with self._lock:
                self._counters = (*self._counters, counter)

    def progress(self, completed: float, total: float | None = None, message: str | None = None) -> None:
        """Set how many units are done, and optionally how many there are in all; cheap at any rate of calls."""
        if not self._is_mine():
            return
        done, whole = units_of(completed, self.metadata), units_of(total, self.metadata)
        with self._lock:
            if done is not None:
                self._base_units = done - (self.completed - self._base_units)
            if whole is not None:
                self._total = whole
            if message is not None:
                self._message = str(message)
            self._changed = True

    def advance(self, n: float = 1, message: str | None = None) -> None:
        """Add `n` to the units that are done; cheap, and exact from many threads."""
        if not self._is_mine():
            return
        step = n if type(n) is int else units_of(n, self.metadata, signed=True)
        with self._lock:
            if step is not None:
                self._base_units += step
            if message is not None:
                self._message = str(message)
            self._changed = True

    def message(self, text: str) -> None:
        """Set the line that is shown beside the node."""
        if self._is_mine():
            self._message = str(text)
            self._changed = True

    def set(self, **metadata: Any) -> None:
        """Merge values into the node's metadata."""
        if self._is_mine():
            with self._lock:
                self.metadata.update(metadata)
                self._changed = True

    def plan(self, *names: str) -> None:
        """Announce children that will come, so that the total is honest before they start."""
        if self._is_mine():
            for name in names:
                self._recorder.plan_child(self, str(name))

    def plan_id(self, name: str) -> str:
        """Return the id of an announced child."""
        with self._recorder.lock:
            return self._names().plan(name)

    def unstarted(self) -> list[tuple[str, str]]:
        """Return (name, id) of announced children that never started."""
        return [] if self._children is None else self._children.unstarted()

    def event(
        self, title: str, *, event_type: str = "note", severity: LogLevel = "INFO", **details: Any
    ) -> None:
        """Record something worth telling about this node."""
        self._recorder.event(self, title, event_type=event_type, severity=severity, details=details)

    def artifact(self, location: Any, *, kind: str | None = None, **metadata: Any) -> None:
        """Record something that this node made, by path or URI; of a file the size is noted.

        Args:
            location: path or URI.
            kind: what it is, such as "report"; the file's suffix by default.
            metadata: anything else worth knowing, such as a digest.
        """
        self._recorder.artifact(self, location, kind, metadata)

    def metric(self, **values: Any) -> None:
        """Record values that this node measured, such as `loss=0.1`."""
        self._recorder.metric(self, values)

    def link(self, to: Any, **attributes: Any) -> None:
        """Link this node to what it comes from or goes on with: kept in its metadata, and as a link of its span.

        Args:
            to: another node, a span or span context of OpenTelemetry, or a `traceparent` as text.
            attributes: what there is to say about it.

        Raises:
            UsageError: `to` names no span.
        """
        ids = linked_ids(to)
        if self._is_mine():
            with self._lock:
                known = self.metadata.setdefault("links", [])
                if isinstance(known, list) and len(known) < MAX_LINKS:
                    known.append({"trace_id": f"{ids[0]:032x}", "span_id": f"{ids[1]:016x}", **attributes})
                self._changed = True
            self.span.link(*ids, attributes)

    # What the recorder does with it.

    @property
    def counters(self) -> tuple[Counter, ...]:
        """The passes over tracked items."""
        return self._counters

    def put_lock(self, wrap: Callable[[Any], Any]) -> None:
        """Put another lock around the one that guards the units; who holds that goes on holding it."""
        self._lock = wrap(self._lock)

    def _is_mine(self) -> bool:
        if self.generation is self._recorder.generation:
            return True
        self._recorder.foreign_change(self)
        return False

    def note_error(self, error_type: str) -> None:
        """Keep what kind of exception ended it."""
        self.error_type = error_type
        self._changed = True

    def settle(self, status: Status, end_ns: int) -> None:
        """Give the node its final status."""
        self.status = status
        self.end_ns = end_ns
        self.is_ended = True

    def take_changes(self) -> bool:
        """Return whether progress, total or message differ from what was told last, and take them as told."""
        if not (self._changed or self._counters):
            return False
        self.is_bare = False
        has_changed, self._changed = self._changed, False
        now = (self.completed, self._total, self._message)
        before, self._told = self._told, now
        if now[0] != (0 if before is None else before[0]):
            self.job.progress_at = time.time_ns()
        return has_changed or now != before

    def line(self, now_ns: int) -> bytes:
        """Return the node's row as it is now, as a COPY line."""
        version = self._version = now_ns if now_ns > self._version else self._version + 1
        if self.is_bare and not self._changed and not self._counters:
            return self._line.bare(self.status, self.end_ns, self.resources or "{}", version)
        # A copy, since another thread may add to it meanwhile.
        redactor, message = self._recorder.redactor, self._message
        metadata = "{}"
        if self.metadata:
            metadata = encode_json(dict(self.metadata))
            if redactor.look(metadata) is not None:
                metadata = encode_json(redactor.json(dict(self.metadata)))
        if self.resources is not None:
            metadata = f"{metadata[:-1]},{self.resources[1:]}" if self.metadata else self.resources
        return self._line.encode(
            self.status,
            min(max(self.completed, 0), MAX_UNITS) if self._counters or self._base_units else 0,
            self._total,
            self.unit,
            self.weight,
            None if message is None else redactor.text(message),
            self.error_type,
            self.end_ns,
            metadata,
            version,
        )

    def note_resources(self, memory_bytes: int, cpu_ns: int) -> None:
        """Keep what the process used while the node ran; memory is the process's, CPU time that of all its threads."""
        self.resources = resources_json(
            self.memory_start_bytes, self.memory_peak_bytes, memory_bytes, self.cpu_start_ns, cpu_ns
        )
