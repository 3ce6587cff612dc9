"""Where nodes made of spans of other programs stand in the tree: what `pipespan_link_spans_v1` does, in plain words.

The contract tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pipespan.model.rows import NodeRow, SpanNote
from pipespan.model.status import NodeLevel

MAX_STEPS: Final = 64
"""So many spans that are no nodes may lie between a node and its parent."""

_BELOW: Final[Mapping[NodeLevel, NodeLevel]] = {"pipeline": "phase", "phase": "step"}


def merged_note(known: SpanNote | None, note: SpanNote) -> SpanNote:
    """Return what is known of a span after `note`, in whatever order notes come."""
    if known is None:
        return note
    above = max(known.parent_span_id or "", note.parent_span_id or "") or None
    return known._replace(parent_span_id=above, is_node=known.is_node or note.is_node)


def linked(nodes: Iterable[NodeRow], notes: Mapping[str, SpanNote]) -> list[NodeRow]:
    """Return the nodes of one experiment whose place is another one than they say, with the right one.

    Args:
        nodes: all of the experiment.
        notes: its spans of other programs, by id.
    """
    by_id = {node.node_id: node for node in nodes}
    named: dict[str, str] = {}
    for node in by_id.values():
        if node.span_id is not None and node.span_id != node.node_id:
            named[node.span_id] = min(named.get(node.span_id, node.node_id), node.node_id)
    parents: dict[str, str | None] = {}
    for note in notes.values():
        node_of = by_id.get(note.span_id)
        if note.is_node and node_of is not None and node_of.span_id == note.span_id:
            above = _above(note, notes)
            parents[note.span_id] = above if above is None else named.get(above, above)
    changed = []
    for node_id, parent_id in parents.items():
        level = _level(node_id, parents, by_id)
        node = by_id[node_id]
        if (node.parent_id, node.node_level) != (parent_id, level):
            changed.append(node._replace(parent_id=parent_id, node_level=level))
    return changed


def _above(note: SpanNote, notes: Mapping[str, SpanNote]) -> str | None:
    """Return the nearest span above that is not known to be left out of the tree."""
    above = note.parent_span_id
    for _ in range(MAX_STEPS - 1):
        over = None if above is None else notes.get(above)
        if over is None or over.is_node:
            break
        above = over.parent_span_id
    return above


def _level(node_id: str, parents: Mapping[str, str | None], by_id: Mapping[str, NodeRow]) -> NodeLevel:
    path: list[str] = []
    at = node_id
    while at in parents and at not in path and len(path) < len(_BELOW) + 1:
        path.append(at)
        above = parents[at]
        if above is None:
            return _lowered("pipeline", len(path) - 1)
        if above not in by_id:
            return "substep"
        at = above
    return "substep" if at in path or at in parents else _lowered(by_id[at].node_level, len(path))


def _lowered(level: NodeLevel, steps: int) -> NodeLevel:
    for _ in range(steps):
        level = _BELOW.get(level, "substep")
    return level
