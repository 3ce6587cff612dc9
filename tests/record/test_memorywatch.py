"""How often memory is compared with its limits: each look takes system calls from a program that computes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipespan.model.resources import ResourceSample
from pipespan.record.cgroup import Limits, Room
from pipespan.record.memorywatch import LOOK_S, MemoryWatch

LIMIT_BYTES = 10_000_000_000
EVERY_S = 2.0


class Counted:
    """A limit that counts how often it is looked at."""

    looks = 0

    def room(self, own_bytes: int) -> Room:
        self.looks += 1
        return Room("a limit", LIMIT_BYTES, own_bytes)


def looks_at(memory_bytes: list[int]) -> int:
    """Return how many looks these samples bring about."""
    limits = Counted()
    recorder: Any = SimpleNamespace(jobs=[], write=lambda _row: None)
    job: Any = SimpleNamespace(id="job", experiment=SimpleNamespace(id="experiment"))
    watch = MemoryWatch(recorder, cast("Limits", limits))
    for number, own_bytes in enumerate(memory_bytes):
        sample: Any = SimpleNamespace(timestamp=number + 1, memory_rss_bytes=own_bytes)
        watch.look([job], [], number * EVERY_S, cast("ResourceSample", sample))
    return limits.looks


@pytest.mark.parametrize(
    ("memory_bytes", "looks"),
    [
        ([LIMIT_BYTES // 4] * 20, 20 * EVERY_S / LOOK_S),
        ([LIMIT_BYTES // 100 * (1 + number % 2) for number in range(20)], 20 * EVERY_S / LOOK_S),
        ([LIMIT_BYTES // 8 + number * 100_000_000 for number in range(20)], 20),
    ],
    ids=["much, and the same", "little, and other each time", "much, and more each time"],
)
def test_who_holds_little_or_as_before_is_seldom_compared(memory_bytes: list[int], looks: float) -> None:
    """It cannot be the one to tell, or has been told before."""
    assert looks_at(memory_bytes) == looks
