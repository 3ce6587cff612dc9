"""The heart of the writing side: opens and closes nodes, and turns what happens to them into rows.

One recorder serves a process. What it knows of the outside are the Protocols of `pipespan.record.ports`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from logging import LogRecord
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.rows import ExperimentRow, LogRow, NodeRow, Row
from pipespan.model.status import ERROR_LEVELS, NODE_LEVELS, LogLevel, NodeLevel
from pipespan.record.context import node_of, with_node
from pipespan.record.extras import artifact_details, event_row, metric_row, planned_row
from pipespan.record.failures import failure_record
from pipespan.record.identity import ProcessIdentity, command_line, git_commit, process_identity, user_name
from pipespan.record.job import Job
from pipespan.record.naming import ChildNames
from pipespan.record.node import Node
from pipespan.record.options import NodeOptions, PipelineOptions, node_options, pipeline_options
from pipespan.record.outcome import error_type_of, message_of, status_of
from pipespan.record.parent import Experiment, Parent, joining
from pipespan.record.ports import NodeObserver, RowSink, Spans
from pipespan.record.resources import MB, ResourceReader, Usage
from pipespan.record.scope import Scope, ScopeSpec
from pipespan.spool.notices import Notices

MAX_SPAN_NAME_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """What the recorder takes from the settings.

    Attributes:
        experiment_id: uuid of the next root pipeline's experiment, None to make one.
        attempt: which restart of the experiment this process belongs to.
        rank: this process's number among parallel workers, where a launcher tells one.
    """

    experiment_id: str | None = None
    attempt: int = 1
    rank: int | None = None


class Recorder:
    """Records the nodes of this process.

    Args:
        sink: takes the rows.
        spans: starts the nodes' shadows.
        log: takes a log record for the current node, past the user's own handlers.
        config: see there.
        notices: where troubles are told.
        on_job: called when this process begins to work on an experiment, in the thread that does.
    """

    def __init__(  # noqa: PLR0913 - a root object: these are its parts
        self, sink: RowSink, spans: Spans, log: Callable[[LogRecord], None], config: RecorderConfig,
        notices: Notices, on_job: Callable[[], None],
    ) -> None:  # fmt: skip
        self.observers: list[NodeObserver] = []
        self.notices = notices
        self.adopted: Parent | None = None
        self._sink = sink
        self._spans = spans
        self._log = log
        self._config = config
        self._on_job = on_job
        self._experiment_id = config.experiment_id
        self._pipelines: list[Node] = []
        self._renew()

    def _renew(self) -> None:
        self.generation = object()
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self._foreign_names: dict[tuple[str, str], ChildNames] = {}
        self._reader: ResourceReader | None = None
        self._identity: ProcessIdentity | None = None

    def after_fork_in_child(self) -> None:
        """Become the child's recorder: inherited nodes are foreign from now on."""
        if self._reader is not None:
            self._reader.close()
        self._renew()

    # Scopes.

    def scope(self, level: NodeLevel, name: str | None, *, parent: Parent | None = None, **options: Any) -> Scope:
        """Return a scope of this recorder."""
        return Scope(lambda: self, level, name, parent, options)

    def open(self, spec: ScopeSpec) -> Node | None:
        """Start a node; None when there is no pipeline to belong to."""
        parent = spec.parent if spec.parent is not None else self.parent_now()
        if spec.level == "pipeline":
            options = pipeline_options(spec.options)
            return self._open_pipeline(spec.name, parent, options)
        node_opts = node_options(spec.level, spec.options)
        if parent is None:
            self.notices.trouble(
                "outside", f"{spec.level} {spec.name[:80]!r} is outside of any pipeline and is not recorded"
            )
            return None
        return self._open_child(spec.level, spec.name, parent, node_opts)

    def parent_now(self) -> Parent | None:
        """Return the node that a new scope belongs to."""
        return node_of() or self.default_node()

    def default_node(self) -> Parent | None:
        """Return the node for what has no context: the innermost running pipeline, or what the process was started for."""
        for pipeline in reversed(self._pipelines):
            if not pipeline.is_ended:
                return pipeline
        return self.adopted

    def leaf_context(self) -> Context | None:
        """Return the context of the node that was opened last of those that run."""
        for job in reversed(list(self.jobs.values())):
            for node in reversed(list(job.open_nodes.values())):
                return node.context
        return None

    def find_node(self, context: Context) -> Parent | None:
        """Return the nearest node of `context`, else the default one."""
        return node_of(context) or self.default_node()

    def _open_pipeline(self, name: str, parent: Parent | None, options: PipelineOptions) -> Node:
        if parent is not None and options.experiment_id is None:
            node = self._new_child("pipeline", name, parent, NodeOptions(metadata=options.metadata()))
            self._start(node, node.parent.context if node.parent else otel_context.get_current())
        else:
            node = self._open_root(name, options)
        self._pipelines.append(node)
        return node

    def _open_root(self, name: str, options: PipelineOptions) -> Node:
        wanted, self._experiment_id = options.experiment_id or self._experiment_id, None
        names = ChildNames(None, "")
        context = otel_context.get_current()
        start_ns = time.time_ns()
        span = self._spans.start(
            name[:MAX_SPAN_NAME_CHARS],
            parent=context,
            start_time_unix_ns=start_ns,
            attributes={semconv.NODE_LEVEL: "pipeline", semconv.NODE_ID: names.take(name, None)},
            trace_id=None if wanted is None else uuid.UUID(wanted).int,
        )
        is_root_of_trace = not _is_inside_trace(context)
        experiment_id = wanted or str(uuid.UUID(int=span.trace_id) if is_root_of_trace else uuid.uuid4())
        experiment = Experiment(experiment_id, plain_text(name), self._config.attempt, start_ns, None, is_owner=True)
        job = self._new_job(experiment)
        node = Node(
            self, job, None, name=plain_text(name), node_id=ChildNames(None, "").take(name, None),
            level="pipeline", total=options.total, unit=options.unit, weight=1.0, metadata=options.metadata(),
        )  # fmt: skip
        row = _experiment_row(experiment, options, f"{span.trace_id:032x}", self.identity().host)
        self.write(row)
        self.write(job.row())
        self._start(node, context, span=span, start_ns=start_ns)
        node.job.root_row = row
        return node

    def _open_child(self, level: str, name: str, parent: Parent, options: NodeOptions) -> Node:
        lowest = min(NODE_LEVELS.index(parent.level) + 1, len(NODE_LEVELS) - 1)
        node = self._new_child(NODE_LEVELS[max(NODE_LEVELS.index(level), lowest)], name, parent, options)  # type: ignore[arg-type] # a closed set
        current = otel_context.get_current()
        # The user may have spans of other tracers open below the parent; they stay between the two.
        self._start(node, current if node_of(current) is parent else parent.context)
        return node

    def _new_child(self, level: NodeLevel, name: str, parent: Parent, options: NodeOptions) -> Node:
        return Node(
            self, self.job_for(parent), parent, name=plain_text(name), node_id=parent.child_id(name, options.key),
            level=level, total=options.total, unit=options.unit, weight=options.weight,
            metadata=dict(options.metadata or {}),
        )  # fmt: skip

    def _start(self, node: Node, context: Context, span: Any = None, start_ns: int | None = None) -> None:
        node.start_ns = time.time_ns() if start_ns is None else start_ns
        node.span = span or self._spans.start(
            node.name[:MAX_SPAN_NAME_CHARS],
            parent=context,
            start_time_unix_ns=node.start_ns,
            attributes={
                semconv.EXPERIMENT_ID: node.experiment_id,
                semconv.NODE_ID: node.node_id,
                semconv.NODE_LEVEL: node.level,
            },
            trace_id=None,
        )
        node.trace_id, node.span_id = f"{node.span.trace_id:032x}", f"{node.span.span_id:016x}"
        node.context = with_node(node.span.context, node)
        node.usage_at_start = usage = self.usage()
        if usage is not None:
            node.peak_memory_bytes = usage.memory_bytes
        node.status = "running"
        node.job.open_nodes[id(node)] = node
        self.write(node.row())
        for observer in self.observers:
            observer.node_started(node)

    def close(self, node: Node, error: BaseException | None) -> None:
        """End `node`, which `error` left, None standing for its end; never raises."""
        try:
            if not node.is_foreign and not node.is_ended:
                self._close(node, error)
        except Exception as trouble:  # noqa: BLE001 - nothing of ours may reach the user's code
            self.notices.trouble("close", f"a node could not be closed: {trouble!r}")

    def _close(self, node: Node, error: BaseException | None, message: str | None = None) -> None:
        status = status_of(error)
        if error is not None:
            node.error_type = error_type_of(error)
            if status == "failed":
                node.message(message_of(error) or node.error_type)
                if (record := failure_record(node.name, node.level, error)) is not None:
                    self._log(record)
        if message is not None:
            status, _ = "cancelled", node.message(message)
        for name, node_id in node.unstarted():
            self.write(planned_row(node, name, node_id, is_over=True))
        self._note_resources(node)
        node.status = status
        node.take_changes()
        node.end_ns = max(time.time_ns(), node.start_ns or 0)
        node.job.open_nodes.pop(id(node), None)
        row = node.row()
        node.span.end(
            end_time_unix_ns=node.end_ns, status=status, error_type=node.error_type, message=row.message,
            attributes=_progress_attributes(row),
        )  # fmt: skip
        self.write(row)
        if node.level == "pipeline" and node in self._pipelines:
            self._pipelines.remove(node)
        if node.job.root_row is not None and node.parent is None:
            self._end_experiment(node, row)
        for observer in self.observers:
            observer.node_ended(node)

    def _end_experiment(self, root: Node, row: NodeRow) -> None:
        job = root.job
        first = job.root_row
        if first is not None:
            self.write(replace(first, status=row.status, ended_at=row.end_time, version=row.version))
        self.end_job(job, row.status, cause=row.error_type or "return")

    def end_job(self, job: Job, status: Any, *, cause: str) -> None:
        """Write the end of this process's work on an experiment."""
        if not job.is_ended:
            job.is_ended = True
            self.jobs.pop(job.experiment.id, None)
            self.write(job.row(status, cause=cause))

    def end_all(self) -> None:
        """At the exit of the process: close what was left open, end the jobs; never raises."""
        for job in list(self.jobs.values()):
            for node in reversed(list(job.open_nodes.values())):
                try:
                    self._close(node, None, message="left open when the process exited")
                except Exception as trouble:  # noqa: BLE001
                    self.notices.trouble("close", f"a node could not be closed: {trouble!r}")
            self.end_job(job, "completed", cause="return")

    def _note_resources(self, node: Node) -> None:
        before, now = node.usage_at_start, self.usage()
        if before is None or now is None:
            return
        node.metadata["resources"] = {
            "memory_start_mb": round(before.memory_bytes / MB, 3),
            "memory_end_mb": round(now.memory_bytes / MB, 3),
            "memory_peak_mb": round(max(node.peak_memory_bytes, now.memory_bytes) / MB, 3),
            "cpu_time_start_s": round(before.cpu_s, 6),
            "cpu_time_end_s": round(now.cpu_s, 6),
            "cpu_time_s": round(now.cpu_s - before.cpu_s, 6),
        }

    # What is not a scope.

    def identity(self) -> ProcessIdentity:
        """Return who this process is."""
        if self._identity is None:
            self._identity = process_identity()
        return self._identity

    def usage(self) -> Usage | None:
        """Return memory and CPU time now, None where they cannot be read."""
        reader = self.reader()
        return None if reader is None else reader.usage()

    def reader(self) -> ResourceReader | None:
        """Return the reader of this process's resources, None where there is none."""
        if self._reader is None:
            try:
                self._reader = ResourceReader()
            except Exception as trouble:  # noqa: BLE001 - psutil may not know the platform
                self.notices.trouble("resources", f"resources cannot be read: {trouble!r}")
        return self._reader

    def job_for(self, parent: Parent) -> Job:
        """Return this process's job for children of `parent`."""
        with self.lock:
            return self.jobs.get(parent.experiment_id) or self._new_job(joining(parent))

    def _new_job(self, experiment: Experiment) -> Job:
        job = Job(experiment, self.identity(), self._config.rank)
        self.jobs[experiment.id] = job
        self._on_job()
        if not experiment.is_owner:
            self.write(job.stub())
            self.write(job.row())
        return job

    def names_under(self, parent: Parent) -> ChildNames:
        """Return the names that this process gives to children of a foreign parent; the caller holds the lock."""
        key = (parent.experiment_id, parent.node_id)
        names = self._foreign_names.get(key)
        if names is None:
            names = self._foreign_names[key] = ChildNames(parent.node_id, self.job_for(parent).mark)
        return names

    def write(self, row: Row, *, droppable: bool = False) -> None:
        """Hand a row to the sink; log rows also leave their message with the job, for its last words."""
        if type(row) is LogRow and (job := self.jobs.get(row.experiment_id)) is not None:
            job.last_messages.append(f"{row.level} {row.message}")
            if row.level in ERROR_LEVELS:
                job.error_count += 1
        self._sink.write(row, droppable=droppable)

    def write_progress(self, node: Node) -> None:
        """Record where `node` stands now."""
        self.write(node.row(), droppable=True)
        for observer in self.observers:
            observer.node_progressed(node)

    def plan_child(self, node: Node, name: str) -> None:
        """Record a child that will start later."""
        self.write(planned_row(node, name, node.plan_id(name)))

    def foreign_change(self, node: Node) -> None:
        """Tell that a forked child cannot move a node of its parent's."""
        self.notices.trouble(
            "foreign",
            f"{node.level} {node.name[:80]!r} belongs to the parent process; open a step of your own below it",
        )

    def event(
        self, node: Parent, title: str, *, event_type: str, severity: LogLevel, details: Mapping[str, Any]
    ) -> None:
        """Record an event of `node`."""
        self.write(event_row(node, title, event_type=event_type, severity=severity, details=details))

    def artifact(self, node: Parent, location: Any, kind: str | None, metadata: Mapping[str, Any]) -> None:
        """Record something that `node` made."""
        details = artifact_details(location, kind, metadata)
        self.write(event_row(node, str(location), event_type="artifact", severity="INFO", details=details))

    def metric(self, node: Parent, values: Mapping[str, Any]) -> None:
        """Record values that `node` measured."""
        self.write(metric_row(node, values))

    def log(self, record: LogRecord) -> None:
        """Record a log record for the current node, past the user's own handlers."""
        self._log(record)


def _experiment_row(
    experiment: Experiment, options: PipelineOptions, trace_id: str, host: str
) -> ExperimentRow:
    return ExperimentRow(
        id=experiment.id,
        name=experiment.name,
        status="running",
        params=options.params,
        tags=options.tags,
        command=command_line(),
        host=host,
        user_name=user_name(),
        git_commit=git_commit(),
        started_at=experiment.started_at_unix_ns,
        ended_at=None,
        trace_id=trace_id,
        attempt=experiment.attempt,
        version=experiment.started_at_unix_ns,
    )


def _is_inside_trace(context: Context) -> bool:
    return trace.get_current_span(context).get_span_context().is_valid


def _progress_attributes(row: NodeRow) -> dict[str, Any]:
    attributes: dict[str, Any] = {semconv.NODE_STATUS: row.status}
    if row.completed_units or row.total_units is not None:
        attributes[semconv.PROGRESS_COMPLETED] = row.completed_units
        if row.total_units is not None:
            attributes[semconv.PROGRESS_TOTAL] = row.total_units
        if row.unit is not None:
            attributes[semconv.PROGRESS_UNIT] = row.unit
    return attributes
