"""How often memory is compared with its limits: each look takes system calls from a program that computes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipespan.model.resources import ResourceSample
from pipespan.record.cgroup import Group, Limits, Room
from pipespan.record.memorywatch import LOOK_S, MemoryWatch

LIMIT_BYTES = 10_000_000_000
EVERY_S = 2.0


class Counted(Limits):
    """A limit that counts how often it is looked at."""

    looks = 0

    def room(self, own_bytes: int) -> Room | None:
        self.looks += 1
        return super().room(own_bytes)


def looks_at(memory_bytes: list[int]) -> int:
    """Return how many looks these samples bring about."""
    limits = Counted(LIMIT_BYTES)
    recorder: Any = SimpleNamespace(jobs=[], write=lambda _row: None)
    job: Any = SimpleNamespace(id="job", experiment=SimpleNamespace(id="experiment"))
    watch = MemoryWatch(recorder, limits)
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


def test_a_small_limit_counts_beside_a_large_one_that_is_tighter(tmp_path: Path) -> None:
    """The host may have little left while a group of its own has more: what grows fast reaches the small one first."""
    for name, text in (("limit", "1000000000"), ("used", "1")):
        (tmp_path / name).write_text(text)
    group = Group(tmp_path, ("limit",), "used", "cache")
    limits = Limits(groups=[group])
    assert limits.smallest_bytes == 0
    assert limits.room(1) is not None
    assert limits.smallest_bytes == 1_000_000_000
