"""The tree of nodes: how parents follow their children, and nodes in the shape of a forest.

The formula of `rollup` stands in SQL too (`sql/migrations`, `pipespan_shown_ppb_v1` and `update_parent_progress`);
the contract tests hold both against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from pipespan.model.status import BROKEN_OFF, TERMINAL_STATUSES, Status

WHOLE_PPB: Final = 1_000_000_000
"""Parts per billion of a node that is done."""

MAX_WEIGHT: Final = 1e9
"""A higher weight counts as this one: its thousandths are still exact as a float."""


class Linked(Protocol):
    """What has a place in a tree."""

    @property
    def node_id(self) -> str:
        """Unique in the experiment."""

    @property
    def parent_id(self) -> str | None:
        """The parent's `node_id`; None for a root."""


class Countable(Linked, Protocol):
    """What has progress in a tree; rows and records of nodes do."""

    @property
    def status(self) -> Status:
        """Status of the node."""

    @property
    def completed_units(self) -> int:
        """The node's own units that are done."""

    @property
    def total_units(self) -> int | None:
        """The node's own units, None when unknown."""

    @property
    def weight(self) -> float:
        """What the node counts among its siblings."""


LinkedT = TypeVar("LinkedT", bound=Linked)


@dataclass(frozen=True, slots=True)
class Rollup:
    """The progress of a node with its children taken in.

    Attributes:
        ppb: parts per billion, 0 to 10^9.
        child_weight: sum of the children's weights in thousandths.
        child_sum: sum over the children of weight in thousandths times parts per billion, an ended one counting
            whole.
        child_reached: the same with what each child truly reached.
    """

    ppb: int
    child_weight: int
    child_sum: int
    child_reached: int


@dataclass(frozen=True, slots=True)
class TreeNode(Generic[LinkedT]):
    """A node with all below it.

    Attributes:
        error_count: errors logged by the node and by all below it.
        depth: 0 for a root.
    """

    record: LinkedT
    children: tuple[TreeNode[LinkedT], ...]
    error_count: int
    depth: int


def shown_ppb(node: Countable, child_weight: int, child_sum: int, child_reached: int) -> int:
    """Return a node's progress in parts per billion: from its own units with a total, else from children.

    While a node runs, a failed or cancelled child is done with and counts whole, so that it does not hold its parent
    below 100 % for ever. Of a node that failed or was cancelled itself its children tell what was truly reached.
    """
    return reached_ppb(node, child_weight, child_reached if node.status in BROKEN_OFF else child_sum)


def reached_ppb(node: Countable, child_weight: int, child_reached: int) -> int:
    """Return what a node has truly reached in parts per billion, whether it goes on or not."""
    if node.status == "completed":
        return WHOLE_PPB
    if node.total_units is not None and node.total_units > 0:
        return min(max(node.completed_units, 0), node.total_units) * WHOLE_PPB // node.total_units
    if child_weight > 0:
        return child_reached // child_weight
    return 0


def settled_ppb(status: Status, ppb: int) -> int:
    """Return what a child counts in its parent: an ended one counts whole, whatever its outcome."""
    return WHOLE_PPB if status in TERMINAL_STATUSES else ppb


def thousandths(weight: float) -> int:
    """Return a weight in thousandths; what is not a positive finite number counts nothing."""
    if not math.isfinite(weight) or weight <= 0:
        return 0
    return round(min(weight, MAX_WEIGHT) * 1000)


def rollup(nodes: Iterable[Countable]) -> dict[str, Rollup]:
    """Return the progress of each node by `node_id`, for the nodes of one experiment.

    A cycle of parents is cut above the first of its nodes in the order given.
    """
    by_id = {node.node_id: node for node in nodes}
    parents = _parents(by_id)
    weights = dict.fromkeys(by_id, 0)
    sums = dict.fromkeys(by_id, 0)
    reached = dict.fromkeys(by_id, 0)
    result: dict[str, Rollup] = {}
    for node_id in _children_first(parents):
        node = by_id[node_id]
        ppb = shown_ppb(node, weights[node_id], sums[node_id], reached[node_id])
        result[node_id] = Rollup(ppb, weights[node_id], sums[node_id], reached[node_id])
        parent = parents[node_id]
        if parent is not None:
            weight = thousandths(node.weight)
            weights[parent] += weight
            sums[parent] += weight * settled_ppb(node.status, ppb)
            reached[parent] += weight * reached_ppb(node, weights[node_id], reached[node_id])
    return result


def build_forest(
    nodes: Sequence[LinkedT], error_counts: Mapping[str | None, int] | None = None
) -> tuple[TreeNode[LinkedT], ...]:
    """Return the roots with all below them, siblings in the order given; no node is ever lost.

    A node whose parent is unknown is a root; a cycle is cut above the first of its nodes in the order given.

    Args:
        nodes: the nodes of one experiment.
        error_counts: how many errors each node logged itself.
    """
    by_id = {node.node_id: node for node in nodes}
    parents = _parents(by_id)
    counts = error_counts or {}
    order = _children_first(parents)
    depths: dict[str, int] = {}
    for node_id in reversed(order):
        parent = parents[node_id]
        depths[node_id] = 0 if parent is None else depths[parent] + 1
    position = _positions(by_id)
    below: dict[str | None, list[TreeNode[LinkedT]]] = {}
    for node_id in order:
        children = below.pop(node_id, [])
        children.sort(key=lambda child: position[child.record.node_id])
        errors = counts.get(node_id, 0) + sum(child.error_count for child in children)
        tree = TreeNode(by_id[node_id], tuple(children), errors, depths[node_id])
        below.setdefault(parents[node_id], []).append(tree)
    roots = below.get(None, [])
    return tuple(sorted(roots, key=lambda root: position[root.record.node_id]))


def _parents(by_id: Mapping[str, Linked]) -> dict[str, str | None]:
    """Return the parent of each node, None for roots, orphans and where a cycle is cut."""
    position = _positions(by_id)
    parents: dict[str, str | None] = {}
    settled: set[str] = set()  # nodes known to lead to a root
    for start in by_id:
        path: list[str] = []
        on_path: set[str] = set()
        node_id = start
        while node_id not in settled:
            path.append(node_id)
            on_path.add(node_id)
            parent = by_id[node_id].parent_id
            if parent is None or parent not in by_id:
                parents[node_id] = None
                break
            if parent in on_path:
                cycle = path[path.index(parent) :]
                parents.update((member, by_id[member].parent_id) for member in cycle)
                parents[min(cycle, key=position.__getitem__)] = None
                break
            parents[node_id] = parent
            node_id = parent
        settled.update(path)
    return parents


def _positions(by_id: Mapping[str, Linked]) -> dict[str, int]:
    return {node_id: index for index, node_id in enumerate(by_id)}


def _children_first(parents: Mapping[str, str | None]) -> list[str]:
    """Return all nodes so that each comes after its children."""
    waiting = dict.fromkeys(parents, 0)
    for parent in parents.values():
        if parent is not None:
            waiting[parent] += 1
    order = [node_id for node_id, children in waiting.items() if children == 0]
    for node_id in order:  # grows while it is walked
        parent = parents[node_id]
        if parent is not None:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                order.append(parent)
    return order
