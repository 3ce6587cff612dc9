"""Sums over children, and the forest."""

from __future__ import annotations

import math
import time

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.rows import NodeRow
from pipespan.model.status import STATUSES
from pipespan.model.tree import Rollup, TreeNode, build_forest, rollup, thousandths
from tests.fixtures.rows import node

NAMES = [f"n{number}" for number in range(8)]
# Parents of any kind: missing ones, the node itself, rings.
NODES = st.lists(
    st.builds(
        lambda name, parent, status, done, total, weight: node(
            name, parent, status=status, completed_units=done, total_units=total, weight=weight
        ),
        st.sampled_from(NAMES),
        st.none() | st.sampled_from([*NAMES, "missing"]),
        st.sampled_from(STATUSES),
        st.integers(-2, 9),
        st.none() | st.integers(-1, 7),
        st.floats(),
    ),
    unique_by=lambda row: row.node_id,
)


def walked(forest: tuple[TreeNode[NodeRow], ...]) -> list[TreeNode[NodeRow]]:
    found: list[TreeNode[NodeRow]] = []
    waiting = list(forest)
    while waiting:
        found.append(waiting.pop())
        waiting.extend(found[-1].children)
    return found


@given(nodes=NODES)
def test_no_node_is_lost_or_doubled(nodes: list[NodeRow]) -> None:
    """Orphans and rings become roots; every node stands once, below its parent where it can."""
    trees = walked(build_forest(nodes))
    assert sorted(tree.record.node_id for tree in trees) == sorted(row.node_id for row in nodes)
    for tree in trees:
        for child in tree.children:
            assert child.record.parent_id == tree.record.node_id
            assert child.depth == tree.depth + 1
    ids = {row.node_id for row in nodes}
    roots = {tree.record.node_id for tree in build_forest(nodes)}
    assert roots >= {row.node_id for row in nodes if row.parent_id not in ids}


@given(
    nodes=NODES, counts=st.dictionaries(st.none() | st.sampled_from([*NAMES, "missing"]), st.integers(0, 5))
)
def test_errors_below_are_counted_in(nodes: list[NodeRow], counts: dict[str | None, int]) -> None:
    """A node's count is its own and all below it; nothing is counted twice."""
    forest = build_forest(nodes, counts)
    total = sum(counts.get(row.node_id, 0) for row in nodes)
    assert sum(tree.error_count for tree in forest) == total
    for tree in walked(forest):
        below = sum(child.error_count for child in tree.children)
        assert tree.error_count == counts.get(tree.record.node_id, 0) + below


@given(nodes=NODES)
def test_percentages_stay_between_0_and_100(nodes: list[NodeRow]) -> None:
    """Whatever units, totals and weights say."""
    sums = rollup(nodes)
    assert set(sums) == {row.node_id for row in nodes}
    assert all(0 <= found.ppb <= 10**9 for found in sums.values())


@given(data=st.data(), nodes=NODES)
def test_the_order_of_nodes_does_not_matter(data: st.DataObject, nodes: list[NodeRow]) -> None:
    """Without rings the sums are the same in any order."""
    tree = [row._replace(parent_id=min(row.parent_id or "", row.node_id)) for row in nodes]
    tree = [row._replace(parent_id=None) if row.parent_id == row.node_id else row for row in tree]
    assert rollup(tree) == rollup(data.draw(st.permutations(tree)))


def test_the_formula() -> None:
    """Own units first, then children, weighted; ended children count whole; planned ones count nothing."""
    sums = rollup(
        [
            node("p"),
            node("p/a", "p", weight=2.0, completed_units=1, total_units=3),
            node("p/b", "p", status="cancelled"),
            node("p/c", "p", status="pending"),
        ]
    )
    assert sums["p/a"] == Rollup(333_333_333, 0, 0, 0)
    assert sums["p"] == Rollup(
        (2000 * 333_333_333 + 1000 * 10**9) // 4000,
        4000,
        2000 * 333_333_333 + 1000 * 10**9,
        2000 * 333_333_333,
    )


def test_a_failed_node_shows_what_was_truly_reached() -> None:
    """Its children that broke off count as far as they came, also through a level that was still running."""
    below = [
        node("p/a", "p"),
        node("p/a/x", "p/a", status="completed"),
        node("p/a/y", "p/a", status="failed", completed_units=1, total_units=4),
        node("p/b", "p", status="cancelled"),
    ]
    running = rollup([node("p"), *below])
    assert [running[name].ppb for name in ("p", "p/a", "p/b")] == [10**9, 10**9, 0]
    failed = rollup([node("p", status="failed"), *below])
    assert failed["p"].ppb == 625_000_000 // 2
    assert failed["p/a"].ppb == 10**9


def test_siblings_keep_their_order() -> None:
    """The reader's order stands on every level."""
    forest = build_forest([node("b/2", "b"), node("b"), node("a"), node("b/1", "b"), node("b/3", "b")])
    assert [tree.record.node_id for tree in forest] == ["b", "a"]
    assert [child.record.node_id for child in forest[0].children] == ["b/2", "b/1", "b/3"]


def test_weights() -> None:
    """Thousandths, rounded half to even; no negative, no infinity, no NaN."""
    odd = [-1.0, 0.0, math.nan, math.inf, -math.inf, 0.0005]
    assert [thousandths(weight) for weight in odd] == [0] * 6
    assert [thousandths(weight) for weight in (1.0, 0.0015, 1e300)] == [1000, 2, 10**12]


def test_deep_and_wide_trees_take_linear_time() -> None:
    """40,000 nodes in one chain, under one parent, or in rings of two are no matter."""
    count = 40_000
    chain = [node(str(number), str(number - 1) if number else None) for number in range(count)]
    wide = [node("p"), *(node(str(number), "p", status="completed") for number in range(count))]
    rings = [node(str(number), str(number ^ 1)) for number in range(count)]
    started = time.monotonic()
    for nodes in (chain, wide, rings):
        assert len(rollup(nodes)) == len(nodes)
        assert len(walked(build_forest(nodes))) == len(nodes)
    assert time.monotonic() - started < 30
