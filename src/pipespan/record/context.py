"""The current node, kept in the OTel Context, so that whatever carries contexts carries it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context

if TYPE_CHECKING:
    from pipespan.record.parent import Parent

NODE_KEY: Final = otel_context.create_key("pipespan-node")


def with_node(context: Context, node: Parent) -> Context:
    """Make `node` the current one of `context`, which is new and seen by nobody yet; return it.

    A Context refuses items, because contexts are shared. This one is not, and a second copy of it would cost each
    step a microsecond.
    """
    dict.__setitem__(context, NODE_KEY, node)
    return context


def node_of(context: Context | None = None) -> Parent | None:
    """Return the nearest node of `context` (default: the current one) that has not ended, or None."""
    node = cast("Parent | None", otel_context.get_value(NODE_KEY, context))
    # Scopes that were closed out of order leave ended nodes behind.
    while node is not None and node.is_ended:
        node = node.parent
    return node


def enter(context: Context) -> Context:
    """Make `context` the current one; return what was current before, for `leave`."""
    before = otel_context.get_current()
    otel_context.attach(context)
    return before


def leave(context: Context, before: Context) -> None:
    """Make `before` the current context again, unless somebody else's is current by now that has not ended.

    Tokens are not used: a scope in a generator may be closed in another task than it was opened in, where
    resetting by token fails.
    """
    current = otel_context.get_current()
    if current is context or _has_ended(current):
        otel_context.attach(before)


def _has_ended(context: Context) -> bool:
    node = cast("Parent | None", otel_context.get_value(NODE_KEY, context))
    return node is not None and node.is_ended
