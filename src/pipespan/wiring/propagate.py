"""Takes the current node across any kind of message: `pipespan.inject` on one side, `pipespan.extract` on the other."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import TracebackType

from opentelemetry.context import Context

from pipespan.errors import UsageError
from pipespan.record.context import enter, leave
from pipespan.record.headers import context_in, headers_of
from pipespan.wiring import process


def inject(headers: MutableMapping[str, str] | None = None) -> MutableMapping[str, str]:
    """Add to the headers of a message what leads its receiver to the current node, and return them.

    `traceparent`, `tracestate` and `baggage` of W3C, which every tracing library understands, and `pipespan-parent`,
    by which `extract` finds the node. Outside of any pipeline nothing but the trace context is added.

    Args:
        headers: what to add to; a new dict by default.
    """
    carrying = {} if headers is None else headers
    recorder = process.recorder()
    if recorder is not None:
        carrying.update(headers_of(recorder.parent_now(), recorder.worker))
    return carrying


class Extracted:
    """Makes the node that headers lead to the current one, while it is open; see `extract`."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._context: Context | None = None
        self._before: Context | None = None

    def __enter__(self) -> None:
        recorder = process.ready_recorder()
        context = context_in(self._headers, recorder)
        if context is not None:
            self._before = enter(context)
            self._context = context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context, self._context = self._context, None
        if context is not None and self._before is not None:
            leave(context, self._before)


def extract(headers: Mapping[str, str]) -> Extracted:
    """Return a context manager in which the node that `inject` was called at is the current one.

    Steps, logs and events inside of it belong to that node, whatever process or host this is. Without the header
    `pipespan-parent` the trace context alone is taken over: nothing joins an experiment because of a trace that
    passes by.

    Args:
        headers: of a message, or an environment; names in any case.

    Raises:
        UsageError: the headers are no mapping.
    """
    if not isinstance(headers, Mapping) and not hasattr(headers, "items"):
        raise UsageError(f"extract takes a mapping of names to values, not {headers!r}; write dict(headers)")
    return Extracted(headers)
