"""The status of an experiment as one line, for logs and pipes."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import tzinfo

from rich.text import Text

from pipespan.cli.render.look import look_for
from pipespan.cli.render.text import clock, expected, plural
from pipespan.cli.render.tree import state_words
from pipespan.query.status import NodeView, StatusView


def render_line(
    view: StatusView,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
    *,
    zone: tzinfo | None = None,
) -> Text:
    """Return time, name, state, percent, the deepest running node, errors and ETA."""
    look = look_for(ascii_only=ascii_only)
    state = "".join(word for word, _ in state_words(view))
    parts = [look.safe(clock(view.seen_at, zone)), look.safe(view.experiment.name), state]
    percent = _percent(view)
    if percent is not None:
        parts.append(f"{percent}%")
    node = _deepest_running(view)
    if node is not None:
        parts.append(look.short(look.safe(node.record.node_id), 60))
    if view.error_count:
        parts.append(plural(view.error_count, "error"))
    if view.eta_s is not None:
        parts.append(f"ETA {expected(view.eta_s)}")
    return Text("  ".join(parts), no_wrap=True, overflow="ignore")


def change_key(view: StatusView) -> Hashable:
    """Return what has to differ for a new line to be worth it: not times, nor every single unit."""
    node = _deepest_running(view)
    return (
        view.experiment.status,
        view.experiment.attempt,
        view.health.word,
        _percent(view),
        view.error_count,
        None if node is None else node.record.parent_id,
    )


def _percent(view: StatusView) -> int | None:
    if any(root.record.status in ("failed", "cancelled") and not root.is_measurable for root in view.roots):
        return None  # how far that one came is not known
    measurable = [root for root in view.roots if root.is_measurable]
    return int(min(root.record.progress_percent for root in measurable)) if measurable else None


def _deepest_running(view: StatusView) -> NodeView | None:
    """Return the newest running node at each level, down to the last."""
    chosen: NodeView | None = None
    nodes = view.roots
    while running := [node for node in nodes if node.record.status == "running"]:
        chosen = running[-1]
        nodes = chosen.children
    return chosen
