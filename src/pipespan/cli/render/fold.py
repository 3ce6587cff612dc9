"""Which lines of a tree are shown: all of a small one; of a large one those that somebody has to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipespan.query.status import NodeState, NodeView

MAX_LINES: Final = 40
"""A tree of more lines is folded: about what a terminal shows beside the header."""


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of the drawn tree: a node, or many that it stands for.

    Attributes:
        ancestors_last: for each level above, whether that ancestor is the last of its siblings; roots have none.
        is_last: whether it is the last of its siblings.
        node: the node, None for a fold.
        folded: the nodes that the line stands for.
        folded_status: the state that these share, None when they are of several.
        has_note: whether the node's message has a line of its own below.
    """

    ancestors_last: tuple[bool, ...]
    is_last: bool
    node: NodeView | None
    folded: Sequence[NodeView] = ()
    folded_status: NodeState | None = None
    has_note: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """How strictly to fold.

    Attributes:
        from_level: levels above this one are shown whole; 0 is that of the roots.
        troubled: at most so many siblings of a kind that are neither completed nor pending; None shows all.
        has_notes: whether messages are shown.
    """

    from_level: int
    troubled: int | None = None
    has_notes: bool = True


_OUTLINE_LEVELS: Final = 2
"""The roots and their children give the outline: they are folded when nothing else helps."""

_STRICTER: Final[Sequence[tuple[int | None, bool]]] = (
    (None, True),
    (None, False),
    (8, True),
    (8, False),
    (3, False),
    (1, False),
)
"""How many troubled siblings, and whether with messages, once all levels below the outline are folded."""

_MIN_FOLD: Final = 2
"""A single node is shown rather than folded: it takes one line either way."""


def fold(
    roots: Sequence[NodeView], *, max_lines: int = MAX_LINES, depth: int | None = None
) -> list[TreeLine]:
    """Return the lines of the tree, at most `max_lines` of them as long as any folding can achieve it.

    The deepest levels go first, and only as many as needed: at each the completed and pending siblings, then all
    but some of the running and failed ones. The roots and their children go last. What is still too long is cut
    at the end.
    """
    order, level_sizes = _walk(roots, depth)
    quiet = _quiet_nodes(order)
    for plan in _plans(level_sizes, max_lines):
        lines = list(_lines(roots, plan, quiet, depth, stop_after=4 * max_lines))
        if sum(1 + line.has_note for line in lines) <= max_lines:
            return lines
    return _cut(list(_lines(roots, _Plan(0, 1, has_notes=False), quiet, depth, stop_after=None)), max_lines)


def _walk(roots: Sequence[NodeView], depth: int | None) -> tuple[Sequence[NodeView], Sequence[int]]:
    """Return all nodes, parents before their children, and how many each shown level has."""
    order: list[NodeView] = []
    sizes: list[int] = []
    level = list(roots)
    while level:
        order.extend(level)
        sizes.append(len(level))
        level = [child for node in level for child in node.children]
    return order, sizes[:depth]


def _plans(level_sizes: Sequence[int], max_lines: int) -> Iterator[_Plan]:
    """Yield what to try, mildest first, without what cannot do: levels shown whole take a line for each node."""
    whole = 0
    possible = [0]
    for level, size in enumerate(level_sizes, start=1):
        whole += size
        if whole <= max_lines:
            possible.append(level)
    yield from (_Plan(level) for level in reversed(possible) if level > _OUTLINE_LEVELS)
    for level in range(_OUTLINE_LEVELS, -1, -1):
        if level in possible or level == 0:
            yield from (_Plan(level, troubled, has_notes) for troubled, has_notes in _STRICTER)


def _quiet_nodes(order: Sequence[NodeView]) -> Mapping[int, bool]:
    """Return for each node, by identity, whether it and all below are completed, or all are pending."""
    quiet: dict[int, bool] = {}
    for node in reversed(order):
        status = node.record.status
        quiet[id(node)] = status in ("completed", "pending") and all(
            quiet[id(child)] and child.record.status in (status, "pending") for child in node.children
        )
    return quiet


def _lines(
    roots: Sequence[NodeView],
    plan: _Plan,
    quiet: Mapping[int, bool],
    depth: int | None,
    stop_after: int | None,
) -> Iterator[TreeLine]:
    waiting = list(reversed(_siblings(roots, (), plan, quiet)))
    count = 0
    while waiting and (stop_after is None or count <= stop_after):
        line = waiting.pop()
        count += 1
        yield line
        if line.node is None or (depth is not None and len(line.ancestors_last) + 1 >= depth):
            continue
        below = (*line.ancestors_last, line.is_last)
        waiting.extend(reversed(_siblings(line.node.children, below, plan, quiet)))


def _siblings(
    nodes: Sequence[NodeView], above: tuple[bool, ...], plan: _Plan, quiet: Mapping[int, bool]
) -> list[TreeLine]:
    """Return the lines of siblings; those that are too many of a kind share one, where the first of them stood."""
    folded = _too_many(nodes, plan, quiet) if len(above) >= plan.from_level else {}
    fold_of: dict[int, NodeState] = {id(node): status for status, group in folded.items() for node in group}
    lines: list[TreeLine] = []
    told: set[NodeState] = set()
    for node in nodes:
        status = fold_of.get(id(node))
        if status is None:
            lines.append(TreeLine(above, False, node, has_note=plan.has_notes and has_note(node)))
        elif status not in told:
            told.add(status)
            lines.append(TreeLine(above, False, None, tuple(folded[status]), status))
    if lines:
        lines[-1] = replace(lines[-1], is_last=True)
    return lines


def _too_many(
    nodes: Sequence[NodeView], plan: _Plan, quiet: Mapping[int, bool]
) -> Mapping[NodeState, Sequence[NodeView]]:
    """Return which siblings are folded, by state."""
    shown: Counter[tuple[NodeState, bool]] = Counter()
    folded: dict[NodeState, list[NodeView]] = {}
    for node in nodes:
        kind = (node.state, quiet[id(node)])
        limit = 0 if quiet[id(node)] else plan.troubled
        if limit is not None and shown[kind] >= limit:
            folded.setdefault(node.state, []).append(node)
        else:
            shown[kind] += 1
    return {status: group for status, group in folded.items() if len(group) >= _MIN_FOLD}


def has_note(node: NodeView) -> bool:
    """Tell whether a node has something to say: what it does, or why it failed, unless a child says that."""
    record = node.record
    if record.status == "failed":
        is_said_below = any(child.record.status == "failed" for child in node.children)
        return not is_said_below and bool(record.error_type or record.message)
    return record.status == "running" and bool(record.message)


def _cut(lines: Sequence[TreeLine], max_lines: int) -> list[TreeLine]:
    """Return the first lines, and one that counts the nodes of the others."""
    if len(lines) <= max_lines:
        return list(lines)
    kept = max(1, max_lines - 1)
    rest: list[NodeView] = []
    for line in lines[kept:]:
        rest.extend(line.folded if line.node is None else (line.node,))
    return [*lines[:kept], TreeLine((), True, None, tuple(rest))]
