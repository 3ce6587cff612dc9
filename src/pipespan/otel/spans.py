"""The shadows of nodes: SDK spans where there is an SDK, ids alone where there is none."""

from __future__ import annotations

import logging
import os
import random
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)
from opentelemetry.trace import Status as SpanStatus

from pipespan.model import semconv
from pipespan.model.attributes import cut_text
from pipespan.record.outcome import error_type_of, message_of

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipespan.model.status import Status
    from pipespan.otel.sampled import ShortWay
    from pipespan.record.ports import SpanHandle

OUTCOMES: Final[dict[str, str]] = {"completed": "success", "failed": "failure", "cancelled": "cancellation"}
"""Terminal statuses in the words of `cicd.pipeline.result`."""

MAX_DESCRIPTION_CHARS: Final = 1_000
"""Longest status description; the whole text is in the log record of the exception."""

MAX_STACKTRACE_CHARS: Final = 30_000
"""Longest traceback at a span; as above."""

EXCEPTION_EVENT: Final = "exception"

_log = logging.getLogger(semconv.SCOPE)
_INTERNAL: Final = SpanKind.INTERNAL

_ROOT_FLAGS: Final = TraceFlags(TraceFlags.SAMPLED)


# Ids do not come from the global `random`: a program that seeds it would have the same experiment id in each run,
# and one that relies on its sequence would see other numbers because it is watched. `os.urandom` costs a system
# call each time, so a generator of our own is seeded from it, in forked children anew.
_random: Final = random.Random()  # noqa: S311 - ids have to be unique, not secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def new_trace_id() -> int:
    """Return a random trace id, never 0."""
    return _random.getrandbits(128) or 1


def new_span_id() -> int:
    """Return a random span id, never 0."""
    return _random.getrandbits(64) or 1


def is_random_trace_id(trace_id: int) -> bool:
    """Tell whether a caller's trace id has the shape of a random (version 4) UUID.

    Only those have the 56 random bits that W3C Trace Context level 2 asks of the random flag.
    """
    return (trace_id >> 76) & 0xF == 4 and (trace_id >> 62) & 0b11 == 0b10


class PlainSpan:
    """Ids and a context, no more."""

    __slots__ = ("parent", "span", "span_id", "trace_id")

    def __init__(self, parent: Context, ids: SpanContext) -> None:
        self.parent = parent
        self.span = NonRecordingSpan(ids)
        self.trace_id, self.span_id = ids[:2]

    def end(
        self,
        end_time_unix_ns: int,
        status: Status,
        error_type: str | None,
        message: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Do nothing: nobody looks at such a span."""

    def note_exception(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Do nothing, as above."""

    def link(self, trace_id: int, span_id: int, attributes: Mapping[str, Any]) -> None:
        """Do nothing, as above."""


class PlainSpans:
    """Gives nodes ids when no SDK is joined, so that trace ids still travel in the Context.

    A root's flags say "sampled": otherwise a process downstream, whose own SDK would have sampled its trace,
    would drop it because we stand above it.
    """

    def start(
        self,
        name: str,
        parent: Context,
        start_time_unix_ns: int,
        attributes: dict[str, Any],
        trace_id: int | None = None,
    ) -> SpanHandle:
        """Give ids; a foreign valid span in `parent` keeps its trace."""
        above = get_current_span(parent).get_span_context()
        if above.is_valid:
            ids = SpanContext(above.trace_id, new_span_id(), False, above.trace_flags, above.trace_state)
        else:
            ids = SpanContext(trace_id or new_trace_id(), new_span_id(), False, _ROOT_FLAGS)
        return PlainSpan(parent, ids)


class SdkSpan:
    """A node's span of the SDK."""

    __slots__ = ("parent", "span", "span_id", "trace_id")

    def __init__(self, parent: Context, span: Span, ids: SpanContext) -> None:
        self.parent = parent
        self.span = span
        self.trace_id, self.span_id = ids[:2]

    def end(
        self,
        end_time_unix_ns: int,
        status: Status,
        error_type: str | None,
        message: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """End the span with the node's outcome; never raises."""
        try:
            # Of a node that simply completed the span's own status says enough: attributes are what costs most.
            if status != "completed" and self.span.is_recording():
                self.span.set_attributes(_outcome(status, error_type))
                if status == "failed":
                    self.span.set_status(SpanStatus(StatusCode.ERROR, _description(message, error_type)))
            if attributes:
                self.span.set_attributes(attributes)
            self.span.end(end_time_unix_ns)
        except Exception:  # noqa: BLE001 - a foreign span processor may raise; the node's end is in its row
            _log.debug("span of a node could not be ended", exc_info=True)

    def note_exception(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Add the event that backends look for; the log record of the exception tells the same."""
        try:
            if self.span.is_recording():
                self.span.add_event(EXCEPTION_EVENT, _exception(error, hide))
        except Exception:  # noqa: BLE001 - the exception's own `__str__` may raise, or a processor
            _log.debug("an exception could not be noted at its span", exc_info=True)

    def link(self, trace_id: int, span_id: int, attributes: Mapping[str, Any]) -> None:
        """Add a link."""
        try:
            self.span.add_link(SpanContext(trace_id, span_id, is_remote=True), attributes)
        except Exception:  # noqa: BLE001 - as above
            _log.debug("a span could not be linked", exc_info=True)


def _exception(error: BaseException, hide: Callable[[str], str]) -> dict[str, Any]:
    kind = type(error)
    lines = traceback.format_exception(kind, error, error.__traceback__)
    return {
        semconv.EXCEPTION_TYPE: error_type_of(error),
        semconv.EXCEPTION_MESSAGE: message_of(error, hide),
        semconv.EXCEPTION_STACKTRACE: cut_text(hide("".join(lines)), MAX_STACKTRACE_CHARS),
    }


def _has_own_ids(ids: SpanContext, parent: Context) -> bool:
    # A tracer that is switched off hands the parent's own ids on, which cannot name a node.
    return ids.is_valid and ids.span_id != get_current_span(parent).get_span_context().span_id


def _outcome(status: Status, error_type: str | None) -> dict[str, str]:
    outcome = {semconv.NODE_STATUS: status, semconv.NODE_OUTCOME: OUTCOMES.get(status, status)}
    return outcome if error_type is None else {**outcome, semconv.ERROR_TYPE: error_type}


def _description(message: str | None, error_type: str | None) -> str | None:
    text = message or error_type
    return text if text is None else text[:MAX_DESCRIPTION_CHARS]


class SdkSpans:
    """Starts SDK spans for nodes, from pipespan's own tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._plain = PlainSpans()
        self._chosen: ContextVar[int | None] = ContextVar("pipespan_trace_id", default=None)
        self._warned = False
        self._short = own_tracer(tracer, self._chosen)

    def start(
        self,
        name: str,
        parent: Context,
        start_time_unix_ns: int,
        attributes: dict[str, Any],
        trace_id: int | None = None,
    ) -> SpanHandle:
        """Start a span; one that the SDK refuses becomes ids alone."""
        try:
            short = self._short
            if trace_id is None and short is not None:
                child = short.start(name, parent, start_time_unix_ns, attributes)
                if child is not None:
                    return SdkSpan(parent, child, child.get_span_context())
            if trace_id is None:
                span = self._tracer.start_span(
                    name, parent, _INTERNAL, attributes, (), start_time_unix_ns, False, False
                )
            else:
                span = self._start_under(trace_id, name, parent, attributes, start_time_unix_ns)
            ids = span.get_span_context()
            if span.is_recording() or _has_own_ids(ids, parent):
                return SdkSpan(parent, span, ids)
        except Exception:  # noqa: BLE001 - a sampler or processor of the program may raise
            _log.debug("span of a node could not be started", exc_info=True)
        return self._plain.start(name, parent, start_time_unix_ns, attributes, trace_id)

    def _start_under(
        self, trace_id: int, name: str, parent: Context, attributes: dict[str, Any], start_time_unix_ns: int
    ) -> Span:
        token = self._chosen.set(trace_id)
        try:
            return self._tracer.start_span(
                name, parent, _INTERNAL, attributes, (), start_time_unix_ns, False, False
            )
        finally:
            self._chosen.reset(token)
            self._warn_of_ratio()

    def _warn_of_ratio(self) -> None:
        sampler = getattr(self._tracer, "sampler", None)
        if self._warned or sampler is None:
            return
        self._warned = True
        if "TraceIdRatioBased" in sampler.get_description():
            _log.warning(
                "sampling by TraceIdRatioBased is all or nothing for an experiment id that was given; "
                "let pipespan choose the id, or use a composable ratio sampler"
            )


def own_tracer(tracer: Tracer, chosen: ContextVar[int | None]) -> ShortWay | None:
    """Make `tracer` record whatever is sampled and take given trace ids, or leave it alone.

    Sampler and id generator are public attributes of one SDK tracer, so no other library's spans change.
    """
    try:
        from pipespan.otel.sdktracer import adapt_tracer  # noqa: PLC0415 - the SDK need not be there
    except ImportError:
        return None
    return adapt_tracer(tracer, chosen)
