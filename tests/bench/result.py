"""What benchmarks give: samples in pairs, judged by a goal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

MIN_PAIRS = 7
"""Fewer pairs say nothing on a machine that others use too."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured; the quick form shows that all works, its figures are coarse.

    Attributes:
        is_quick: little of everything.
        minutes: how long benchmarks of long runs take; 0 leaves it to them.
    """

    is_quick: bool = False
    minutes: float = 0.0

    def pick(self, full: int, quick: int) -> int:
        """Return the size that is asked for."""
        return quick if self.is_quick else full


@dataclass(frozen=True, slots=True)
class Samples:
    """What one benchmark measured.

    Attributes:
        ours: one figure for each pair, in the benchmark's unit.
        peer: the same for the peer, in the same order; empty when there is none.
        note: what else is worth knowing.
        fault: why the goal is missed whatever the figures are, such as rows that were lost.
    """

    ours: Sequence[float]
    peer: Sequence[float] = ()
    note: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit and what is held against it: the ratio of ours to the peer, their difference, or ours alone."""

    limit: float
    of: Literal["ratio", "difference", "ours"] = "ratio"
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether `value` is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def text(self) -> str:
        """Return the goal as it stands in the table."""
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" + ("" if self.of == "ratio" else f" ({self.of})")


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        ours: median of ours.
        peer: median of the peer's, None without one.
        ratio: median of the pairs' ratios, None without a peer.
        goal: the limit, None for what only informs.
        met: whether it is kept, None without one.
        min: the least of what the goal is held against, over the pairs.
        max: the most.
        pairs: how many there were.
    """

    name: str
    unit: str
    ours: float
    peer: float | None
    ratio: float | None
    goal: float | None
    goal_text: str
    met: bool | None
    min: float
    max: float
    pairs: int
    note: str


def judge(name: str, unit: str, goal: Goal | None, samples: Samples) -> Result:
    """Return what `samples` amount to."""
    judged = _judged(goal, samples)
    value = statistics.median(judged)
    ratios = [ours / peer for ours, peer in zip(samples.ours, samples.peer, strict=False)]
    return Result(
        name=name,
        unit=unit,
        ours=statistics.median(samples.ours),
        peer=statistics.median(samples.peer) if samples.peer else None,
        ratio=statistics.median(ratios) if ratios else None,
        goal=None if goal is None else goal.limit,
        goal_text="" if goal is None else goal.text(),
        met=None if goal is None else goal.is_met(value) and not samples.fault,
        min=min(judged),
        max=max(judged),
        pairs=len(judged),
        note="; ".join(text for text in (samples.fault, samples.note) if text),
    )


def _judged(goal: Goal | None, samples: Samples) -> list[float]:
    if goal is not None and goal.of == "ours":
        return list(samples.ours)
    pairs = list(zip(samples.ours, samples.peer, strict=False))
    if not pairs:
        return list(samples.ours)
    if goal is not None and goal.of == "difference":
        return [ours - peer for ours, peer in pairs]
    return [ours / peer for ours, peer in pairs]


def to_json(result: Result) -> dict[str, Any]:
    """Return `result` as the object that `--json` prints."""
    return {
        "name": result.name,
        "ours": result.ours,
        "peer": result.peer,
        "ratio": result.ratio,
        "goal": result.goal,
        "met": result.met,
        "min": result.min,
        "max": result.max,
        "pairs": result.pairs,
        "unit": result.unit,
        "goal_text": result.goal_text,
        "note": result.note,
    }
