"""Which lines of a tree are shown: all of a small one; of a large one those that somebody has to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipespan.model.status import Status
from pipespan.query.status import NodeView

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
        folded_status: the status that these share, None when they are of several.
        has_note: whether the node's message has a line of its own below.
    """

    ancestors_last: tuple[bool, ...]
    is_last: bool
    node: NodeView | None
    folded: Sequence[NodeView] = ()
    folded_status: Status | None = None
    has_note: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """How strictly to fold: at most so many siblings of a kind, and whether messages are shown."""

    quiet: int | None
    troubled: int | None
    has_notes: bool


_PLANS: Final = (
    _Plan(quiet=None, troubled=None, has_notes=True),
    _Plan(quiet=0, troubled=None, has_notes=True),
    _Plan(quiet=0, troubled=None, has_notes=False),
    _Plan(quiet=0, troubled=8, has_notes=True),
    _Plan(quiet=0, troubled=8, has_notes=False),
    _Plan(quiet=0, troubled=3, has_notes=False),
    _Plan(quiet=0, troubled=1, has_notes=False),
)

_MIN_FOLD: Final = 2
"""A single node is shown rather than folded: it takes one line either way."""


def fold(
    roots: Sequence[NodeView], *, max_lines: int = MAX_LINES, depth: int | None = None
) -> list[TreeLine]:
    """Return the lines of the tree, at most `max_lines` of them as long as any folding can achieve it.

    Completed and pending siblings go first, then all but some of the running and failed ones; what is still
    too long is cut at the end.
    """
    quiet = _quiet_nodes(roots)
    size = len(quiet)
    for plan in _PLANS:
        if plan.quiet is None and size > max_lines and depth is None:
            continue
        lines = list(_lines(roots, plan, quiet, depth, stop_after=4 * max_lines))
        if sum(1 + line.has_note for line in lines) <= max_lines:
            return lines
    return _cut(list(_lines(roots, _PLANS[-1], quiet, depth, stop_after=None)), max_lines)


def _quiet_nodes(roots: Sequence[NodeView]) -> Mapping[int, bool]:
    """Return for each node, by identity, whether it and all below are completed, or all are pending."""
    order = list(roots)
    for node in order:  # grows while it is walked: parents come before their children
        order.extend(node.children)
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
    folded = _too_many(nodes, plan, quiet)
    fold_of: dict[int, Status] = {id(node): status for status, group in folded.items() for node in group}
    lines: list[TreeLine] = []
    told: set[Status] = set()
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
) -> Mapping[Status, Sequence[NodeView]]:
    """Return which siblings are folded, by status."""
    shown: Counter[tuple[Status, bool]] = Counter()
    folded: dict[Status, list[NodeView]] = {}
    for node in nodes:
        kind = (node.record.status, quiet[id(node)])
        limit = plan.quiet if quiet[id(node)] else plan.troubled
        if limit is not None and shown[kind] >= limit:
            folded.setdefault(node.record.status, []).append(node)
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
