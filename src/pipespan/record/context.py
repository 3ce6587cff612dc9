"""The current node, kept in the OTel Context, so that whatever carries contexts carries it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

if TYPE_CHECKING:
    from pipespan.record.parent import Parent

NODE_KEY: Final = otel_context.create_key("pipespan-node")

_RUNTIME: Final[Any] = getattr(otel_context, "_RUNTIME_CONTEXT", otel_context)
"""What the API's functions hand on to; a scope asks four times, and a call between costs as much as the asking."""

current_context: Final[Callable[[], Context]] = _RUNTIME.get_current
attach: Final[Callable[[Context], object]] = _RUNTIME.attach

SPAN_KEY: Final[str] = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""Where the API keeps the current span in a Context."""


def with_node(parent: Context, span: Span, node: Parent) -> Context:
    """Return `parent` with `span` and `node` as the current ones.

    Equals `set_span_in_context` and `set_value`, which copy the context once more each.
    """
    return Context({**parent, SPAN_KEY: span, NODE_KEY: node})


def node_of(context: Context | None = None) -> Parent | None:
    """Return the nearest node of `context` (default: the current one) that has not ended, or None."""
    if context is None:
        context = current_context()
    node: Parent | None = context.get(NODE_KEY)  # type: ignore[assignment] # a Context holds anything
    # Scopes that were closed out of order leave ended nodes behind.
    while node is not None and node.is_ended:
        node = node.parent
    return node


def enter(context: Context) -> Context:
    """Make `context` the current one; return what was current before, for `leave`."""
    before = current_context()
    attach(context)
    return before


def leave(context: Context, before: Context) -> None:
    """Make `before` the current context again, unless somebody else's is current by now that has not ended.

    Tokens are not used: a scope in a generator may be closed in another task than it was opened in, where
    resetting by token fails.
    """
    current = current_context()
    if current is context or _has_ended(current):
        attach(before)


def _has_ended(context: Context) -> bool:
    node: Any = context.get(NODE_KEY)
    return node is not None and node.is_ended
