"""Spans of nodes in the words of the conventions for CI/CD, beside our own: for backends that show such runs.

Off unless it is asked for: the conventions speak of CI/CD systems, and each span carries two attributes more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipespan.model import semconv
from pipespan.otel.spans import OUTCOMES

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from pipespan.model.status import Status
    from pipespan.record.ports import SpanHandle, Spans


class CicdSpans:
    """Starts spans as `inner` does, with what a pipeline run or a task of one has to have."""

    def __init__(self, inner: Spans) -> None:
        self._inner = inner

    def start(
        self,
        name: str,
        parent: Context,
        start_time_unix_ns: int,
        attributes: dict[str, Any],
        trace_id: int | None = None,
    ) -> SpanHandle:
        """Start a span; never raises."""
        is_run = attributes.get(semconv.NODE_LEVEL) == "pipeline"
        named = semconv.CICD_PIPELINE_NAME if is_run else semconv.CICD_TASK_NAME
        inner = self._inner.start(name, parent, start_time_unix_ns, {**attributes, named: name}, trace_id)
        return _CicdSpan(inner, is_run=is_run)


class _CicdSpan:
    """A span that says at its end how the run or task came out."""

    __slots__ = ("_inner", "_is_run", "parent", "span", "span_id", "trace_id")

    def __init__(self, inner: SpanHandle, *, is_run: bool) -> None:
        self._inner = inner
        self._is_run = is_run
        self.trace_id: int = inner.trace_id
        self.span_id: int = inner.span_id
        self.parent: Context = inner.parent
        self.span: Span = inner.span

    def end(
        self,
        end_time_unix_ns: int,
        status: Status,
        error_type: str | None,
        message: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """End the span; never raises."""
        more = (
            self._ids_of_run(attributes)
            if self._is_run
            else {semconv.CICD_TASK_RUN_ID: f"{self.span_id:016x}"}
        )
        result = semconv.CICD_PIPELINE_RESULT if self._is_run else semconv.CICD_TASK_RESULT
        more[result] = OUTCOMES.get(status, status)
        self._inner.end(end_time_unix_ns, status, error_type, message, {**attributes, **more})

    def _ids_of_run(self, attributes: Mapping[str, Any]) -> dict[str, str]:
        experiment_id = attributes.get(semconv.EXPERIMENT_ID) or UUID(int=self.trace_id)
        return {semconv.CICD_PIPELINE_RUN_ID: str(experiment_id)}

    def note_exception(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Hand on."""
        self._inner.note_exception(error, hide)

    def link(self, trace_id: int, span_id: int, attributes: Mapping[str, Any]) -> None:
        """Hand on."""
        self._inner.link(trace_id, span_id, attributes)
