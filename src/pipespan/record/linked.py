"""What a node is linked to: another span, in whatever form it is known."""

from __future__ import annotations

import re
from typing import Any, Final

from opentelemetry import trace

from pipespan.errors import UsageError

MAX_LINKS: Final = 128
"""Most links that a node keeps: as many as a span of the SDK does."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", re.ASCII)


def linked_ids(to: Any) -> tuple[int, int]:
    """Return trace id and span id of what a node is linked to.

    Raises:
        UsageError: it names no span.
    """
    ids = _ids(to)
    if ids is None or not all(ids):
        raise UsageError(f"cannot link to {to!r:.100}; give a node, a span, a span context or a traceparent")
    return ids


def _ids(to: Any) -> tuple[int, int] | None:
    if isinstance(to, str):
        found = _TRACEPARENT.fullmatch(to.strip().lower())
        return None if found is None else (int(found[1], 16), int(found[2], 16))
    if isinstance(to, trace.Span):
        to = to.get_span_context()
    to = getattr(to, "context", to) if isinstance(to, trace.Link) else to
    if isinstance(to, trace.SpanContext):
        return to.trace_id, to.span_id
    trace_id, span_id = getattr(to, "trace_id", None), getattr(to, "span_id", None)
    if isinstance(trace_id, str) and isinstance(span_id, str):  # a node of this process
        return int(trace_id, 16), int(span_id, 16)
    return None
