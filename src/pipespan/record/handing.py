"""Work that is handed to another process: announced by the one, done by the other, settled by whoever sees its end.

All of them mean the same node, so its id is made of the parent's and of a key that the work carries. The announcement
has the lowest version there is: whatever the worker says of the node outranks it, whatever their clocks say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace

from pipespan.errors import UsageError
from pipespan.model.attributes import plain_text
from pipespan.model.ids import child_id
from pipespan.model.rows import NodeRow
from pipespan.model.status import Status, level_under
from pipespan.record import life
from pipespan.record.carrier import RemoteNode, carrier_of
from pipespan.record.context import enter, leave
from pipespan.record.failures import LOGGER_NAME
from pipespan.record.node import Node
from pipespan.record.parent import Parent
from pipespan.record.recorder import Recorder

_ANNOUNCED: Final = 1
"""Version of an announcement: that of a row with more to tell is a time."""

_GIVEN_UP: Final = 2
"""Version of an end that was told by one who does not know why it came to that."""


def announce(recorder: Recorder, parent: Parent, name: str, key: str, metadata: Mapping[str, Any]) -> str:
    """Record that work is on its way, as a pending child of `parent`; return its node id."""
    row = _row(recorder, parent, name, key, metadata)
    recorder.write(row)
    return row.node_id


def settle(  # noqa: PLR0913 - what a row of an end consists of
    recorder: Recorder,
    parent: Parent,
    name: str,
    key: str,
    *,
    status: Status,
    metadata: Mapping[str, Any],
    message: str | None = None,
    error_type: str | None = None,
    started_at_unix_ns: int | None = None,
) -> None:
    """Record the end of work whose own process cannot tell any more, or never had it."""
    now = time.time_ns()
    row = _row(recorder, parent, name, key, metadata)
    recorder.write(
        row._replace(
            status=status,
            message=message,
            error_type=error_type,
            start_time=started_at_unix_ns,
            end_time=now,
            job_id=parent.job_id,
            version=now,
        )
    )


def _row(recorder: Recorder, parent: Parent, name: str, key: str, metadata: Mapping[str, Any]) -> NodeRow:
    redact = recorder.redactor.text
    ids = trace.get_current_span(parent.context).get_span_context()
    return NodeRow(
        experiment_id=parent.experiment_id,
        node_id=child_id(parent.node_id, redact(key)),
        node_level=level_under(parent.level, "step"),
        parent_id=parent.node_id,
        node_name=plain_text(redact(name)),
        status="pending",
        completed_units=0,
        total_units=None,
        unit=None,
        weight=1.0,
        message=None,
        error_type=None,
        start_time=None,
        end_time=None,
        metadata=metadata,
        trace_id=f"{ids.trace_id:032x}",
        span_id=None,
        # Nobody's yet: it outlives the process that hands it over.
        job_id=None,
        attempt=parent.experiment.attempt,
        version=_ANNOUNCED,
    )


def park(recorder: Recorder, node: Node, message: str) -> None:
    """Give back work that is to be tried again, here or elsewhere: its node is pending until then."""
    now = _leave(recorder, node, "failed", message)
    row = _row_of(recorder, node)
    recorder.write(row._replace(message=message, error_type=node.error_type, version=now))


def give_up(recorder: Recorder, node: Node, message: str) -> None:
    """End work that somebody takes away from this process: what that one tells of its end outranks this."""
    now = _leave(recorder, node, "cancelled", message)
    row = _row_of(recorder, node)
    recorder.write(
        row._replace(status="cancelled", message=message, end_time=now, job_id=node.job.id, version=_GIVEN_UP)
    )


def _leave(recorder: Recorder, node: Node, outcome: Status, message: str) -> int:
    """Have `node` be none of this process's any more; return when."""
    now = max(time.time_ns(), node.start_ns)
    node.settle(node.status, now)
    node.job.open_nodes.pop(id(node), None)
    node.job.progress_at = now
    node.span.end(now, outcome, node.error_type, recorder.redactor.text(message), {})
    return now


def _row_of(recorder: Recorder, node: Node) -> NodeRow:
    """Return the row of a node that this process had open, as one that is nobody's."""
    parent = node.parent
    if parent is None:
        raise UsageError(f"{node.level} {node.name!r} is the root of a tree; it cannot be handed on")
    row = _row(recorder, parent, node.name, "", dict(node.metadata))
    return row._replace(
        node_id=node.node_id,
        node_level=node.level,
        completed_units=max(node.completed, 0),
        total_units=node.total,
        unit=node.unit,
        start_time=node.start_ns,
        trace_id=node.trace_id,
        span_id=node.span_id,
    )


def cancel(recorder: Recorder, node: Node, message: str) -> None:
    """End `node` as cancelled, with the reason."""
    life.end(recorder, node, None, message=message)


def child_of(recorder: Recorder, parent: Parent, key: str) -> RemoteNode:
    """Return what stands here for the child of `parent` that has this key, wherever it is done."""
    carrier = carrier_of(parent, recorder.worker)
    values = {name: getattr(carrier, name) for name in carrier.__dataclass_fields__}
    values["node_id"] = child_id(parent.node_id, recorder.redactor.text(key))
    values["level"] = level_under(parent.level, "step")
    return RemoteNode(recorder, type(carrier)(**values))


def log_for(
    recorder: Recorder, node: Parent, level: int, message: str, error: BaseException | None = None
) -> None:
    """Record a log record of `node`, with the traceback of `error`, past the program's own handlers."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord(LOGGER_NAME, level, "", 0, message, None, exc_info)
    context = node.context
    before = enter(context)
    try:
        recorder.log(record)
    finally:
        leave(context, before)
