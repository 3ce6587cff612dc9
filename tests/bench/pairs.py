"""Ours and the peer by turns, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.result import MIN_PAIRS, Samples

Block = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two does.

    Attributes:
        run: the work that is measured.
        settle: what has to follow before the other's turn, and does not count.
    """

    run: Block
    settle: Block = bool


@dataclass(frozen=True, slots=True)
class Cost:
    """What a block took; CPU times hardly mind what else the machine does.

    Attributes:
        cpu_s: of all threads.
        caller_s: of the thread that does the work alone, without those that ship or export meanwhile.
    """

    wall_s: float
    cpu_s: float
    caller_s: float


def timed_pairs(ours: Side, peer: Side, *, units: int, pairs: int, scale: float) -> Samples:
    """Run both by turns and return what one unit of each costs.

    Args:
        ours: does `units` units of work.
        peer: the same in another's way.
        units: in one block.
        pairs: at least `MIN_PAIRS`.
        scale: of the figures: 1e9 for nanoseconds.
    """
    # Imports, caches and files are there from now on.
    cost_of(ours)
    cost_of(peer)
    costs = [_pair(ours, peer, is_ours_first=number % 2 == 0) for number in range(max(pairs, MIN_PAIRS))]
    cpu = statistics.median(our.cpu_s / their.cpu_s for our, their in costs)
    caller = statistics.median(our.caller_s / their.caller_s for our, their in costs)
    return Samples(
        ours=[our.wall_s / units * scale for our, _ in costs],
        peer=[their.wall_s / units * scale for _, their in costs],
        note=f"ratio of CPU time {cpu:.2f}, of the calling thread's {caller:.2f}",
    )


def _pair(ours: Side, peer: Side, *, is_ours_first: bool) -> tuple[Cost, Cost]:
    # Who comes first changes, since what the one leaves behind may slow the other down.
    if is_ours_first:
        first, second = cost_of(ours), cost_of(peer)
        return first, second
    first, second = cost_of(peer), cost_of(ours)
    return second, first


def cost_of(side: Side) -> Cost:
    """Return what `side` takes; it starts with nothing for the garbage collector, which stays on."""
    gc.collect()
    caller_s, cpu_s, wall_s = time.thread_time(), time.process_time(), time.perf_counter()
    side.run()
    cost = Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s, time.thread_time() - caller_s)
    side.settle()
    return cost
