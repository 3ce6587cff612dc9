"""The heart of the writing side: opens and closes nodes, and turns what happens to them into rows.

One recorder serves a process. What it knows of the outside are the Protocols of `pipespan.record.ports`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from logging import LogRecord
from typing import Any, Final

from opentelemetry.context import Context

from pipespan.model.redact import Redactor
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.rows import LogRow, NodeRow, Row
from pipespan.model.status import MILD_LEVELS, LogLevel, NodeLevel, Status
from pipespan.record import life
from pipespan.record.cancelling import Cancellation
from pipespan.record.context import current_context, node_of
from pipespan.record.ending import Ending, ending_of
from pipespan.record.extras import artifact_details, event_row, metric_row, planned_row
from pipespan.record.jobs import Jobs, Serving
from pipespan.record.launch import Launch
from pipespan.record.node import Node
from pipespan.record.opening import open_child, open_root
from pipespan.record.options import NO_OPTIONS, PipelineOptions, node_options, pipeline_options
from pipespan.record.outcome import status_of
from pipespan.record.parent import Parent
from pipespan.record.ports import NodeObserver, RowSink, Spans
from pipespan.record.scope import Scope
from pipespan.record.unclosed import Unclosed
from pipespan.spool.notices import Notices

MAX_NAMES: Final = 1_000
"""So many names are remembered as looked at for secrets."""


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """What the recorder takes from the settings.

    Attributes:
        experiment_id: uuid of the next root pipeline's experiment, None to make one.
        attempt: which restart of the experiment this process belongs to.
        launch: this process's place among others that were launched with it.
    """

    experiment_id: str | None = None
    attempt: int = 1
    launch: Launch = field(default_factory=Launch)


class Recorder:
    """Records the nodes of this process.

    Args:
        sink: takes the rows; another one may take those that are no logs, as attribute `sink`.
        spans: starts the nodes' shadows.
        log: takes a log record for the current node, past the user's own handlers.
        config: see there.
        notices: where troubles are told.
        on_job: called when this process begins to work on an experiment, in the thread that does.
        on_stage_end: called when a phase or a pipeline has ended, which people wait to see.
        redactor: hides secrets in names, and in what nodes encode themselves; the sink does the rest.
    """

    def __init__(
        self, sink: RowSink, spans: Spans, log: Callable[[LogRecord], None], config: RecorderConfig,
        notices: Notices, on_job: Callable[[], None], redactor: Redactor | None = None,
        on_stage_end: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.observers: list[NodeObserver] = []
        self.redactor = redactor or Redactor(RedactSpec(is_on=False))
        # Names come again and again, in loops.
        self._look = lru_cache(maxsize=MAX_NAMES)(self.redactor.look)
        self.notices = notices
        self.adopted: Parent | None = None
        self.sink = self._log_sink = sink
        self.spans = spans
        self._log = log
        self._config = config
        self._on_job = on_job
        self.on_stage_end = on_stage_end
        self._experiment_id = config.experiment_id
        self._pipelines: list[Node] = []
        self._unclosed = Unclosed(self._end)
        # What scopes of this recorder's nodes ask for it: one function for all of them.
        self.itself = lambda: self
        self._renew(config.launch, Serving())

    def _renew(self, launch: Launch, serving: Serving) -> None:
        self.generation = object()
        self.lock = threading.RLock()
        # Set once somebody has asked this process to stop.
        self.cancellation: Cancellation | None = None
        self.jobs = Jobs(self.write, launch, self.notices, self._on_job, self.lock)
        self.jobs.serving = serving

    def after_fork_in_child(self) -> None:
        """Become the child's recorder: inherited nodes are foreign from now on."""
        self.jobs.close_reader()
        # The rank is the parent's, which goes on using it.
        self._renew(replace(self.jobs.launch, rank=None), self.jobs.serving)

    # Scopes.

    def scope(
        self, level: NodeLevel, name: str | None, *, parent: Parent | None = None, **options: Any
    ) -> Scope:
        """Return a scope of this recorder."""
        return Scope(self.itself, level, name, parent, options)

    def open(self, level: str, name: str, parent: Parent | None, options: dict[str, Any]) -> Node | None:
        """Start a node; None when there is no pipeline to belong to."""
        if self.cancellation is not None:
            self.cancellation.check()
        current = current_context()
        here = node_of(current)
        if parent is None:
            parent = here or self.default_node()
        pipeline = pipeline_options(options) if level == "pipeline" else None
        checked = node_options(level, options) if options and pipeline is None else NO_OPTIONS
        try:
            if self._look(name) is not None:  # ids are made of names
                name = self.redactor.text(name)
            if pipeline is not None:
                return self._open_pipeline(name, parent, pipeline, current)
            if parent is not None:
                # The user may have spans of other tracers open below the parent; they stay between the two.
                context = current if here is parent else parent.context
                return open_child(self, level, name, parent, checked, context)
        except Exception as trouble:  # noqa: BLE001 - a bug of ours, no threads left: the user's work goes on
            self.notices.trouble("open", f"{level} {name[:80]!r} could not be opened: {trouble!r}")
            return None
        self.notices.trouble(
            "outside", f"{level} {name[:80]!r} is outside of any pipeline and is not recorded"
        )
        return None

    def parent_now(self) -> Parent | None:
        """Return the node that a new scope belongs to."""
        return node_of() or self.default_node()

    def default_node(self) -> Parent | None:
        """Return the node for what has no context: the innermost running pipeline, else what the process serves."""
        for pipeline in reversed(self._pipelines):
            if not pipeline.is_ended:
                return pipeline
        return self.adopted

    def leaf_context(self) -> Context | None:
        """Return the context of the node that was opened last of those that run."""
        for job in reversed(list(self.jobs)):
            for node in reversed(list(job.open_nodes.values())):
                return node.context
        return None

    def running(self) -> list[Node]:
        """Return the nodes of this process that run."""
        return [node for job in self.jobs for node in list(job.open_nodes.values())]

    def find_node(self, context: Context) -> Parent | None:
        """Return the nearest node of `context`, else the default one."""
        return node_of(context) or self.default_node()

    def _open_pipeline(
        self, name: str, parent: Parent | None, options: PipelineOptions, current: Context
    ) -> Node:
        if parent is not None and options.experiment_id is None:
            context = current if node_of(current) is parent else parent.context
            node = open_child(self, "pipeline", name, parent, options.for_node(), context)
        else:
            wanted, self._experiment_id = options.experiment_id or self._experiment_id, None
            node = open_root(self, name, options, current, wanted, self._config.attempt)
        self._pipelines.append(node)
        return node

    def close(self, node: Node, error: BaseException | None) -> None:
        """End `node`, which `error` left, None standing for its end; never raises."""
        try:
            if self._unclosed:
                self._unclosed.end_all()
            self._end(node, error)
        except RecursionError:
            self._unclosed.keep(node, error)
        except Exception as trouble:  # noqa: BLE001 - nothing of ours may reach the user's code
            self.notices.trouble("close", f"a node could not be closed: {trouble!r}")

    def _end(self, node: Node, error: BaseException | None) -> None:
        if not node.is_ended and node.generation is self.generation:
            life.end(self, node, error)

    def forget(self, node: Node, error: BaseException | None = None) -> None:
        """Take an ended pipeline off the list, and end what ends with it."""
        if node in self._pipelines:
            self._pipelines.remove(node)
        job = node.job
        if node.parent is None and job.root_row is not None:
            ended = job.root_row._replace(status=node.status, ended_at=node.end_ns, version=time.time_ns())
            self.write(ended)
            self.jobs.end(job, node.status, self._ending_of(node, error))

    def _ending_of(self, root: Node, error: BaseException | None) -> Ending:
        if root.status == "cancelled" and self.cancellation is not None:
            return replace(ending_of(error), cause=f"cancelled by {self.cancellation.asked_by}")
        return ending_of(error)

    def cancel(self, cancellation: Cancellation, details: Mapping[str, Any]) -> None:
        """Take note of a request to stop; the program hears of it at its next call of pipespan."""
        self.cancellation = cancellation
        for job in self.jobs:
            job.cancel = dict(details)
            self.write(job.row())
            for node in list(job.open_nodes.values()):
                cancellation.reach(node)

    def end_cancelled(self) -> None:
        """End all that is open as cancelled, since this process is about to be killed on request; never raises."""
        asked_by = "" if self.cancellation is None else self.cancellation.asked_by
        message = f"cancelled by {asked_by}"
        self._end_open("cancelled", Ending(message), None, message)

    def end_all(self, error: BaseException | None = None) -> None:
        """At the exit of the process: close what was left open, end the jobs; never raises.

        Args:
            error: what ends the process, None for an orderly end.
        """
        left_open = "left open when the process exited" if error is None else None
        self._end_open(status_of(error), ending_of(error), error, left_open)

    def _end_open(
        self, status: Status, ending: Ending, error: BaseException | None, message: str | None
    ) -> None:
        for job in self.jobs:
            for node in reversed(list(job.open_nodes.values())):
                try:
                    life.end(self, node, error, message=message)
                except Exception as trouble:  # noqa: BLE001 - as in `close`
                    self.notices.trouble("close", f"a node could not be closed: {trouble!r}")
            self.jobs.end(job, status, ending)

    # What is not a scope.

    @property
    def worker(self) -> str | None:
        """What this process and those that inherit its environment have in common, where a launcher told a rank."""
        return self._config.launch.worker

    def write(self, row: Row, *, droppable: bool = False) -> None:
        """Hand a row to the sink; log rows also leave their message with the job, for its last words."""
        if type(row) is LogRow and (job := self.jobs.running.get(row.experiment_id)) is not None:
            job.last_logs.append((row.level, row.message))
        self.sink.write(row, droppable=droppable)

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        """Hand a log row to the sink that is encoded already and tells of no error; its columns are told beside it."""
        job = self.jobs.running.get(experiment_id)
        if job is not None:
            job.last_logs.append((level, message))
        self._log_sink.write_line(LogRow, line, droppable=level in MILD_LEVELS)

    def log(self, record: LogRecord) -> None:
        """Record a log record for the current node, past the user's own handlers."""
        self._log(record)

    def write_progress(self, node: Node) -> None:
        """Record where `node` stands now."""
        self.sink.write_line(NodeRow, node.line(time.time_ns()), droppable=True)
        for observer in self.observers:
            observer.node_progressed(node)

    def plan_child(self, node: Node, name: str) -> None:
        """Record a child that will start later."""
        name = self.redactor.text(name)
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
