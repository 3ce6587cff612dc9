"""What happens when a node starts and when it ends: rows, span, resources, observers."""

from __future__ import annotations

from time import process_time_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

from pipespan.errors import Cancelled
from pipespan.model import semconv
from pipespan.model.attributes import json_text
from pipespan.model.rows import NodeRow
from pipespan.model.status import Status
from pipespan.record.extras import planned_row
from pipespan.record.failures import failure_record
from pipespan.record.outcome import error_type_of, message_of, status_of

if TYPE_CHECKING:
    from pipespan.model.redact import Redactor
    from pipespan.record.node import Node
    from pipespan.record.recorder import Recorder


_NO_ATTRIBUTES: Final[dict[str, Any]] = {}

_STAGES: Final = frozenset({"pipeline", "phase"})
"""Levels whose end people wait to see, and of which there are few."""

_STACK: Final = 30
"""So deep go the calls that end a node, at the most."""


def start(recorder: Recorder, node: Node) -> None:
    """Start `node`, which was just made."""
    start_ns, reader, job = node.start_ns, recorder.jobs.reader, node.job
    if reader is not None:
        node.memory_start_bytes = node.memory_peak_bytes = reader.memory_bytes(start_ns)
        node.cpu_start_ns = process_time_ns()
    job.open_nodes[id(node)] = node
    job.progress_at = start_ns
    recorder.sink.write_line(NodeRow, node.line(start_ns))
    for observer in recorder.observers:
        observer.node_started(node)


def end(recorder: Recorder, node: Node, error: BaseException | None, message: str | None = None) -> None:
    """End `node`.

    Args:
        recorder: its recorder.
        node: a running node of this process.
        error: what left its scope, None for the end of the block.
        message: why the node is cancelled without anything having left its scope.
    """
    status: Status = "completed"
    if error is not None:
        if isinstance(error, RecursionError):
            _ask_for_stack(_STACK)
        status = _status_of(recorder, error)
        _note_error(recorder, node, error, status)
    if message is not None:
        status = "cancelled"
        node.message(message)
    for name, node_id in node.unstarted():
        recorder.write(planned_row(node, name, node_id, is_over=True))
    end_ns = max(time_ns(), node.start_ns)
    reader = recorder.jobs.reader
    if reader is not None and node.memory_start_bytes:
        node.note_resources(reader.memory_bytes(end_ns), process_time_ns())
    node.take_changes()
    node.settle(status, end_ns)
    job, parent = node.job, node.parent
    job.open_nodes.pop(id(node), None)
    job.progress_at = end_ns
    if parent is not None:
        parent.ended_child = node.node_id
    if node.is_bare and parent is not None:
        node.span.end(end_ns, status, None, None, _NO_ATTRIBUTES)
    else:
        text = None if node.text is None else recorder.redactor.text(node.text)
        node.span.end(end_ns, status, node.error_type, text, _progress_attributes(node, recorder.redactor))
    recorder.sink.write_line(NodeRow, node.line(end_ns))
    if node.level in _STAGES:
        if node.level == "pipeline":
            recorder.forget(node, error)
        recorder.on_stage_end()
    for observer in recorder.observers:
        observer.node_ended(node)


def _ask_for_stack(calls: int) -> None:
    """Raise RecursionError now, while the node is open and can be ended from further up, and not half-way through."""
    if calls:
        _ask_for_stack(calls - 1)


def _status_of(recorder: Recorder, error: BaseException) -> Status:
    status, cancellation = status_of(error), recorder.cancellation
    if status != "failed" or cancellation is None:
        return status
    # Who was asked to stop may do so in its own way.
    return "cancelled" if cancellation.is_signalled or isinstance(error, SystemExit) else status


def _note_error(recorder: Recorder, node: Node, error: BaseException, status: Status) -> None:
    kind = error_type_of(error)
    node.note_error(kind)
    if isinstance(error, Cancelled):
        node.message(message_of(error, recorder.redactor.text))
    if status == "failed":
        node.message(message_of(error, recorder.redactor.text) or kind)
        # While the node is still the current one, so that the record is its own.
        record = failure_record(node.name, node.level, error)
        if record is not None:
            recorder.log(record)
            node.span.note_exception(error, recorder.redactor.text)


def _progress_attributes(node: Node, redactor: Redactor) -> dict[str, Any]:
    completed, total = node.completed, node.total
    attributes: dict[str, Any] = {}
    if node.parent is None:
        attributes.update(_root_attributes(node, redactor))
    if not completed and total is None:
        return attributes
    attributes[semconv.PROGRESS_COMPLETED] = completed
    if total is not None:
        attributes[semconv.PROGRESS_TOTAL] = total
    if node.unit is not None:
        attributes[semconv.PROGRESS_UNIT] = node.unit
    return attributes


def _root_attributes(node: Node, redactor: Redactor) -> dict[str, Any]:
    """Return what the span of a run's root says of the run: who sees spans alone knows whose they are."""
    attributes: dict[str, Any] = {**node.experiment.span_attributes, semconv.JOB_ID: node.job.id}
    row = node.job.root_row
    if row is not None and row.params:
        attributes[semconv.EXPERIMENT_PARAMS] = json_text(redactor.json(dict(row.params)))
    if row is not None and row.tags:
        attributes[semconv.EXPERIMENT_TAGS] = tuple(redactor.text(tag) for tag in row.tags)
    return attributes
