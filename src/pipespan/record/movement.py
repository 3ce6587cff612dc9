"""Who moves and who rests: how long a node may rest, and which nodes have rested for longer.

Two clocks: a heartbeat says that the process lives, and never that the work moves. A node moves when its units or its
message change, when a child starts or ends, or when anything below it moves. How long it may rest, its promise, is
said by the program (`expect_progress_every`) or learnt from its own pace (`pipespan.model.promise`):

- from its units, until they are all done;
- from its children that end, for further children of like names, as in `epoch 1`, `epoch 2`, ...

A child with a longer promise lengthens the learnt ones of the nodes above it; what the program said of a node is
lengthened only by what it said of a node below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipespan.model.promise import Gaps

if TYPE_CHECKING:
    from pipespan.record.node import Node

MAX_WATCHED: Final = 1_000
"""Of more open nodes only so many, the oldest, are watched."""

_MAX_KINDS: Final = 16
_NUMBERS: Final = re.compile(r"\d+")
_MARKS: Final = re.compile(r"(@\w+)?(#\d+)?$")


@dataclass(slots=True)
class Watched:
    """What is known of one open node's movement; times are those of whoever looks."""

    node: Node
    expected_s: float | None
    own_at: float
    moved_at: float
    units: int
    text: str | None
    ended_child: str | None = None
    gaps: Gaps = field(default_factory=Gaps)
    child_gaps: dict[str, Gaps] = field(default_factory=dict)
    # Set anew at each look, from the nodes below.
    below_s: float | None = None
    below_said_s: float | None = None
    open_kinds: set[str] = field(default_factory=set)
    has_broken_below: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that a node does not keep.

    Attributes:
        node: the deepest one.
        moved_at: when it moved last.
        promise_s: it should have moved within this.
        is_learnt: whether that is from its own pace, and not said by the program.
    """

    node: Node
    moved_at: float
    promise_s: float
    is_learnt: bool


class Movement:
    """Follows the open nodes of a process from look to look.

    Args:
        expected_s: the promise of nodes for which the program said nothing; None learns it.
        floor_s: learnt promises are never shorter.
    """

    def __init__(self, expected_s: float | None, floor_s: float) -> None:
        self._expected_s = expected_s
        self._floor_s = floor_s
        self._watched: dict[int, Watched] = {}

    def forgive(self, lost_s: float) -> None:
        """Take time off the nodes' rest in which nothing of this process ran: it was stopped, or the host slept."""
        for one in self._watched.values():
            one.own_at += lost_s
            one.moved_at += lost_s

    def follow(self, nodes: Sequence[Node], now_s: float) -> list[Watched]:
        """Look at `nodes`, all that are open, in order of their start; return those that are watched."""
        known, self._watched = self._watched, {}
        found: list[Watched] = []
        for node in nodes[:MAX_WATCHED]:
            one = known.get(id(node))
            if one is None or one.node is not node:
                expected_s = node.expected_s or self._expected_s
                one = Watched(node, expected_s, now_s, now_s, node.completed, node.text, node.ended_child)
            else:
                self._take_movement(one, now_s)
            one.below_s = one.below_said_s = None
            one.open_kinds = set()
            one.has_broken_below = False
            self._watched[id(node)] = one
            found.append(one)
        for one in reversed(found):  # children come after their parents
            above = self._watched.get(id(one.node.parent))
            if above is not None:
                above.moved_at = max(above.moved_at, one.moved_at)
        return found

    def _take_movement(self, one: Watched, now_s: float) -> None:
        node = one.node
        units, text, ended = node.completed, node.text, node.ended_child
        if units != one.units:
            one.gaps = one.gaps.then(now_s - one.own_at, self._floor_s)
        if ended is not None and ended != one.ended_child:
            kind = kind_of(ended)
            if kind in one.child_gaps or len(one.child_gaps) < _MAX_KINDS:
                gaps = one.child_gaps.get(kind, Gaps())
                one.child_gaps[kind] = gaps.then(now_s - one.own_at, self._floor_s)
        if units != one.units or ended != one.ended_child:
            one.own_at = one.moved_at = now_s
        if text != one.text:
            one.moved_at = now_s
        one.units, one.text, one.ended_child = units, text, ended

    def broken(self, watched: Sequence[Watched], now_s: float) -> list[Broken]:
        """Return the deepest nodes that rest for longer than promised; `watched` is what `follow` returned."""
        broken: list[Broken] = []
        for one in reversed(watched):
            promise_s, is_learnt = self._promise_of(one)
            above = self._watched.get(id(one.node.parent))
            is_broken = promise_s is not None and now_s - one.moved_at > promise_s
            if above is not None:
                above.open_kinds.add(kind_of(one.node.node_id))
                above.below_s = _longer(_longer(above.below_s, one.below_s), promise_s)
                said_s = _longer(one.below_said_s, one.expected_s)
                above.below_said_s = _longer(above.below_said_s, said_s)
                above.has_broken_below |= is_broken or one.has_broken_below
            if is_broken and promise_s is not None and not one.has_broken_below:
                broken.append(Broken(one.node, one.moved_at, promise_s, is_learnt))
        return broken

    def _promise_of(self, one: Watched) -> tuple[float | None, bool]:
        if one.expected_s is not None:
            return _longer(one.expected_s, one.below_said_s), False
        learnt_s = self._learnt_s(one)
        return (None if learnt_s is None else _longer(learnt_s, one.below_s)), True

    def _learnt_s(self, one: Watched) -> float | None:
        if one.gaps.count and not one.node.has_done_all:
            return one.gaps.promise_s(self._floor_s)
        promises = [one.child_gaps.get(kind, Gaps()).promise_s(self._floor_s) for kind in one.open_kinds]
        known = [promise_s for promise_s in promises if promise_s is not None]
        # A child of a kind that never ended before may take any time.
        return max(known) if known and len(known) == len(promises) else None


def kind_of(node_id: str) -> str:
    """Return what nodes of a series have in common: the last name of the id, without numbers and marks."""
    return _NUMBERS.sub("0", _MARKS.sub("", node_id.rpartition("/")[2]))


def _longer(one_s: float | None, other_s: float | None) -> float | None:
    if one_s is None or other_s is None:
        return one_s if other_s is None else other_s
    return max(one_s, other_s)
