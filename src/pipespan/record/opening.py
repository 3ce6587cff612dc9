"""How nodes come to be: their ids, their spans, and the job that the first one begins."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.status import level_under
from pipespan.record import life
from pipespan.record.identity import experiment_row
from pipespan.record.naming import ChildNames
from pipespan.record.node import Node
from pipespan.record.options import NodeOptions, PipelineOptions
from pipespan.record.parent import Experiment, Parent, span_attributes

if TYPE_CHECKING:
    from pipespan.record.recorder import Recorder

MAX_SPAN_NAME_CHARS: Final = 200

_NODE_ID: Final = semconv.NODE_ID
_NODE_LEVEL: Final = semconv.NODE_LEVEL


def open_root(
    recorder: Recorder,
    name: str,
    options: PipelineOptions,
    context: Context,
    wanted: str | None,
    attempt: int,
) -> Node:
    """Open the pipeline of an experiment, which this process works on from now on.

    Args:
        recorder: whose.
        name: of pipeline and experiment.
        options: of the pipeline.
        context: the one that it is opened in.
        wanted: uuid of the experiment; None to take that of the trace, or to make one inside another's trace.
        attempt: which restart of the experiment this is.
    """
    node_id = ChildNames(None, "").take(name, None)
    start_ns = time.time_ns()
    span = recorder.spans.start(
        name[:MAX_SPAN_NAME_CHARS], context, start_ns,
        {_NODE_LEVEL: "pipeline", _NODE_ID: node_id},
        None if wanted is None else uuid.UUID(wanted).int,
    )  # fmt: skip
    is_root_of_trace = not _is_inside_trace(context)
    experiment_id = wanted or str(uuid.UUID(int=span.trace_id) if is_root_of_trace else uuid.uuid4())
    experiment = Experiment(
        experiment_id, plain_text(name), attempt, start_ns, None, is_owner=True,
        span_attributes=span_attributes(experiment_id, span.trace_id),
    )  # fmt: skip
    job = recorder.jobs.begin(experiment)
    host = recorder.jobs.identity().host
    job.root_row = experiment_row(experiment, options, f"{span.trace_id:032x}", host)
    recorder.write(job.root_row)
    recorder.write(job.row())
    node = Node(recorder, job, None, experiment.name, node_id, "pipeline", options.for_node(), span, start_ns)
    life.start(recorder, node)
    return node


def open_child(
    recorder: Recorder, level: str, name: str, parent: Parent, options: NodeOptions, context: Context
) -> Node:
    """Open a node below `parent`, whose span is below that of `context`."""
    job = recorder.jobs.running.get(parent.experiment_id) or recorder.jobs.below(parent)
    key = options.key
    node_id = parent.child_id(name, None if key is None else recorder.redactor.text(key))
    node_level = "pipeline" if level == "pipeline" else level_under(parent.level, level)
    shown = name
    if len(name) > MAX_SPAN_NAME_CHARS or not name.isprintable():
        shown, name = name[:MAX_SPAN_NAME_CHARS], plain_text(name)
    start_ns = time.time_ns()
    attributes = {**job.experiment.span_attributes, _NODE_ID: node_id, _NODE_LEVEL: node_level}
    span = recorder.spans.start(shown, context, start_ns, attributes)
    node = Node(recorder, job, parent, name, node_id, node_level, options, span, start_ns)
    life.start(recorder, node)
    return node


def _is_inside_trace(context: Context) -> bool:
    return trace.get_current_span(context).get_span_context().is_valid
