"""Where a node is, as headers of a message or as an environment, and back.

Beside the headers of W3C, which any tracing library understands, goes one of pipespan's own: without it nothing is
adopted, for a trace that merely passes by (from CI, from a web server) is no reason to join somebody's experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage import set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipespan.model import semconv
from pipespan.record.carrier import Carrier, RemoteNode, carrier_of
from pipespan.record.context import NODE_KEY
from pipespan.record.parent import Parent
from pipespan.record.recorder import Recorder

PARENT_HEADER: Final = "pipespan-parent"
"""Header with the carrier; in an environment it is `PIPESPAN_PARENT`."""

_TRACE: Final = TraceContextTextMapPropagator()
_BAGGAGE: Final = W3CBaggagePropagator()
_RESOURCE: Final = semconv.ENV_RESOURCE_ATTRIBUTES


def headers_of(node: Parent | None, worker: str | None = None) -> dict[str, str]:
    """Return the headers that lead to `node`: `pipespan-parent`, `traceparent`, and what else the context carries.

    Args:
        node: where the receiver is to go on; None gives the trace context alone, if there is one.
        worker: what names this process's rank among all that were launched, if it has one.
    """
    context = otel_context.get_current()
    headers: dict[str, str] = {}
    if node is not None:
        headers[PARENT_HEADER] = carrier_of(node, worker).to_text()
        context = _below(node, context)
    _TRACE.inject(headers, context)
    _BAGGAGE.inject(headers, context)
    return headers


def _below(node: Parent, context: Context) -> Context:
    """Return `context`, or that of `node` where another one is current; with the experiment as baggage if need be."""
    if context.get(NODE_KEY) is not node:
        context = node.context
    for key, value in node.experiment.span_attributes.items():
        context = set_baggage(key, value, context)
    return context


def environment_of(
    node: Parent | None, environ: Mapping[str, str], worker: str | None = None
) -> dict[str, str]:
    """Return `environ` with what a child program needs to join the experiment of `node`."""
    environment = dict(environ)
    if node is None:
        return environment
    # What this process inherited leads to where its parent was.
    for name in (semconv.ENV_TRACEPARENT, semconv.ENV_TRACESTATE, semconv.ENV_BAGGAGE):
        environment.pop(name, None)
    for name, value in headers_of(node, worker).items():
        environment[name.upper().replace("-", "_")] = value
    environment[semconv.ENV_EXPERIMENT_ID] = node.experiment.id
    attributes = node.experiment.span_attributes
    if attributes:  # inside of somebody else's trace: whose spans these are, its id does not tell
        known = [item for item in environ.get(_RESOURCE, "").split(",") if item]
        kept = [item for item in known if item.partition("=")[0].strip() not in attributes]
        environment[_RESOURCE] = ",".join([*kept, *(f"{key}={value}" for key, value in attributes.items())])
    return environment


def carrier_in(headers: Mapping[str, str]) -> Carrier | None:
    """Return the carrier in headers or in an environment, None when there is none, or none that is sound."""
    text = _spelled_anyhow(headers).get(PARENT_HEADER)
    return None if text is None else Carrier.from_text(text)


def context_in(headers: Mapping[str, str], recorder: Recorder | None) -> Context | None:
    """Return the context that `headers` lead to; None when they lead nowhere.

    With the carrier of a node that is one in which the node is the current one: the node itself where it runs in this
    very process. Without one it is the trace context alone.
    """
    found = _spelled_anyhow(headers)
    carrier = carrier_in(found)
    context = _BAGGAGE.extract(found, otel_context.get_current())
    if carrier is None or recorder is None:
        traced = _TRACE.extract(found, context)
        return traced if trace.get_current_span(traced).get_span_context().is_remote else None
    node = parent_of(carrier, recorder)
    return Context({**context, **node.context})


def parent_of(carrier: Carrier, recorder: Recorder) -> Parent:
    """Return the node that `carrier` means: the live one where it runs in this process, else what stands for it."""
    job = recorder.jobs.running.get(carrier.experiment_id)
    if job is not None and job.id == carrier.job_id:
        for node in list(job.open_nodes.values()):
            if node.node_id == carrier.node_id:
                return node
    return RemoteNode(recorder, carrier)


def _spelled_anyhow(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers under the names of W3C, whatever case they came in, or from an environment."""
    wanted = {PARENT_HEADER, "traceparent", "tracestate", "baggage"}
    spelled: dict[str, str] = {}
    for key, value in headers.items():
        name = str(key).lower().replace("_", "-")
        if name in wanted:
            spelled[name] = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return spelled
