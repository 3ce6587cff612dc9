"""Takes a node to where Python loses the context: other threads' functions, spawned processes, child programs."""

from __future__ import annotations

import functools
import inspect
import json
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from pipespan.model.status import NODE_LEVELS, NodeLevel
from pipespan.record.context import enter, leave, node_of, with_node
from pipespan.record.parent import Experiment, Parent, span_attributes
from pipespan.record.recorder import Recorder

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A node, as text that another process understands."""

    experiment_id: str
    experiment_name: str
    attempt: int
    started_at_unix_ns: int
    job_id: str
    node_id: str
    level: NodeLevel
    trace_id: str
    span_id: str
    trace_flags: int = int(_SAMPLED)
    worker: str | None = None

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Carrier | None:
        """Return the carrier in `text`, None when it is not one: what an environment holds may come from anybody."""
        try:
            carrier = cls(**json.loads(text))
            return carrier if carrier.is_sound() else None
        except (TypeError, ValueError, AttributeError, RecursionError):
            return None

    def is_sound(self) -> bool:
        """Tell whether the values are what they should be; raises TypeError, ValueError or AttributeError when not."""
        ids = (uuid.UUID(self.experiment_id), uuid.UUID(self.job_id))
        numbers = (
            int(self.trace_id, 16),
            int(self.span_id, 16),
            self.attempt + 0,
            self.started_at_unix_ns + 0,
            self.trace_flags + 0,
        )
        texts = (self.node_id.encode(), self.experiment_name.encode())
        if self.worker is not None:
            self.worker.encode()
        return self.level in NODE_LEVELS and all((*ids, *texts)) and all(type(one) is int for one in numbers)


def carrier_of(node: Parent, worker: str | None = None) -> Carrier:
    """Return what another process needs to know of `node`.

    Args:
        node: where the other process is to go on.
        worker: what names this process's rank among all that were launched, if it has one.
    """
    ids = trace.get_current_span(node.context).get_span_context()
    experiment = node.experiment
    return Carrier(
        experiment_id=experiment.id,
        experiment_name=experiment.name,
        attempt=experiment.attempt,
        started_at_unix_ns=experiment.started_at_unix_ns,
        job_id=node.owner_job_id,
        node_id=node.node_id,
        level=node.level,
        trace_id=f"{ids.trace_id:032x}",
        span_id=f"{ids.span_id:016x}",
        trace_flags=int(ids.trace_flags) & int(_SAMPLED),
        worker=worker,
    )


class RemoteNode:
    """A node of another process, known by its carrier; it may get children here."""

    is_ended = False
    is_foreign = True
    parent = None
    ended_child: str | None = None

    def __init__(self, recorder: Recorder, carrier: Carrier) -> None:
        self._recorder = recorder
        self._carrier = carrier
        self.experiment_id = carrier.experiment_id
        self.owner_job_id = carrier.job_id
        self.node_id = carrier.node_id
        self.level: NodeLevel = carrier.level
        self.experiment = Experiment(
            id=carrier.experiment_id,
            name=carrier.experiment_name,
            attempt=carrier.attempt,
            started_at_unix_ns=carrier.started_at_unix_ns,
            parent_job_id=carrier.job_id,
            is_owner=False,
            span_attributes=span_attributes(carrier.experiment_id, int(carrier.trace_id, 16)),
            worker=carrier.worker,
        )
        self.context = with_node(Context(), _remote_span(carrier), self)

    @property
    def job_id(self) -> str:
        """The job of this process."""
        return self._recorder.jobs.below(self).id

    def child_id(self, name: str, key: str | None) -> str:
        """Return the id of a new child."""
        with self._recorder.lock:
            return self._recorder.jobs.names_under(self).take(name, key)


def _remote_span(carrier: Carrier) -> trace.Span:
    ids = trace.SpanContext(
        int(carrier.trace_id, 16),
        int(carrier.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(carrier.trace_flags & int(_SAMPLED)),
    )
    return trace.NonRecordingSpan(ids)


class Wrapped:
    """A function that runs below the node that was current when it was wrapped, in any thread or process.

    In the same process it takes the whole context along; pickled it takes the carrier.
    """

    def __init__(self, function: Callable[..., Any], recorder: Callable[[], Recorder | None]) -> None:
        self._function = function
        self._recorder = recorder
        self._context: Context | None = otel_context.get_current()
        self._made_for: object | None = None
        self._carrier: Carrier | None = None
        self._remote: RemoteNode | None = None
        found = recorder()
        if found is not None:
            self._made_for = found.generation
            node = node_of(self._context) or found.default_node()
            self._carrier = None if node is None else carrier_of(node, found.worker)
            if node is not None and node_of(self._context) is None:
                self._context = node.context
        functools.update_wrapper(self, function, updated=())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickle, (self._function, self._carrier, self._recorder))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function below the node."""
        context = self._context_here()
        if context is None:
            return self._function(*args, **kwargs)
        if inspect.iscoroutinefunction(self._function):
            return _await_in(context, self._function(*args, **kwargs))
        before = enter(context)
        try:
            return self._function(*args, **kwargs)
        finally:
            leave(context, before)

    def _context_here(self) -> Context | None:
        if self._context is not None:
            return self._context
        recorder = self._recorder()
        if recorder is None or self._carrier is None:
            return None
        if self._remote is None or self._made_for is not recorder.generation:
            self._remote = RemoteNode(recorder, self._carrier)
            self._made_for = recorder.generation
        return self._remote.context


async def _await_in(context: Context, coroutine: Coroutine[Any, Any, Any]) -> Any:
    before = enter(context)
    try:
        return await coroutine
    finally:
        leave(context, before)


def _unpickle(
    function: Callable[..., Any], carrier: Carrier | None, recorder: Callable[[], Recorder | None]
) -> Wrapped:
    wrapped = Wrapped.__new__(Wrapped)
    wrapped.__dict__.update(
        _function=function, _recorder=recorder, _context=None, _made_for=None, _carrier=carrier, _remote=None
    )
    return wrapped


def wrap(function: FunctionT, recorder: Callable[[], Recorder | None]) -> FunctionT:
    """Return `function` bound to the current node; see `pipespan.wrap`."""
    return cast("FunctionT", Wrapped(function, recorder))
