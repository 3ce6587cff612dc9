"""Warns before the memory runs out, and tells what the process holds shortly before a killer may come."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.forecast import Sample, reaches_in_s
from pipespan.model.rows import EventRow
from pipespan.record.cgroup import Limits, Room
from pipespan.record.dump import bounded, process_dump
from pipespan.record.extras import SOURCE

if TYPE_CHECKING:
    from pipespan.model.resources import ResourceSample
    from pipespan.record.job import Job
    from pipespan.record.node import Node
    from pipespan.record.recorder import Recorder

NEAR: Final = 0.9
"""At this share of the limit everything is dumped."""

NEAR_S: Final = 5.0
"""So is it when the limit is so near at the present pace."""

OWN_SHARE: Final = 0.1
"""Of a limit that others share, a process that holds less than this is not the one to tell."""

LOOK_S: Final = 10.0
"""Memory that hardly changes is compared with the limits so often: that takes some 0.2 ms."""

CHANGE: Final = 0.01
"""A change of this share of the process's memory makes the look come at once."""

FINE_SAMPLES: Final = 60
"""So many of the last samples are looked at, and as many of those a minute apart, for slow growth."""

COARSE_S: Final = 60.0
FIRST_PAUSE_S: Final = 60.0
MAX_BLOCKS: Final = 1_000_000
"""With more allocated blocks than this only young objects are counted: all would take too long, and memory too."""

MAX_TRACE_BYTES: Final = 32 << 20
"""Traces of tracemalloc are looked at only if they take no more than this."""

_MAX_TYPES: Final = 20
_MAX_NODES: Final = 50
_MB: Final = 1_000_000


class _Pause:
    """Lets something be told at growing intervals."""

    def __init__(self) -> None:
        self._next_at = 0.0
        self._pause_s = FIRST_PAUSE_S

    def is_over(self, now_s: float) -> bool:
        if now_s < self._next_at:
            return False
        self._next_at = now_s + self._pause_s
        self._pause_s *= 2
        return True


class MemoryWatch:
    """Watches this process's memory; its `look` is called by the ticker's thread.

    Args:
        recorder: events go there.
        limits: what there is room for.
        dump: gives what the process does.
    """

    def __init__(
        self, recorder: Recorder, limits: Limits, dump: Callable[[], dict[str, Any]] = process_dump
    ) -> None:
        self._recorder = recorder
        self._limits = limits
        self._dump = dump
        self._fine: deque[Sample] = deque(maxlen=FINE_SAMPLES)
        self._coarse: deque[Sample] = deque(maxlen=FINE_SAMPLES)
        self._sampled_ns = 0
        self._looked_at = -LOOK_S
        self._looked_bytes = 0
        self._warnings = _Pause()
        self._dumps = _Pause()

    def look(
        self, jobs: Sequence[Job], nodes: Sequence[Node], now_s: float, sample: ResourceSample | None
    ) -> None:
        """Take in the newest sample, and tell what it means."""
        if sample is None or sample.timestamp == self._sampled_ns or not jobs:
            return
        self._sampled_ns = sample.timestamp
        own_bytes = sample.memory_rss_bytes
        self._fine.append((now_s, own_bytes))
        if not self._coarse or now_s - self._coarse[-1][0] >= COARSE_S:
            self._coarse.append((now_s, own_bytes))
        # Who holds little of each limit is not the one to tell, whatever the change.
        is_due = own_bytes >= OWN_SHARE * self._limits.smallest_bytes and self._has_changed(own_bytes)
        if not is_due and now_s - self._looked_at < LOOK_S:
            return
        self._looked_at, self._looked_bytes = now_s, own_bytes
        room = self._limits.room(own_bytes)
        if room is not None and own_bytes >= OWN_SHARE * room.limit_bytes:
            self._judge(jobs, nodes, now_s, own_bytes, room)

    def _has_changed(self, own_bytes: int) -> bool:
        return abs(own_bytes - self._looked_bytes) > CHANGE * own_bytes

    def _judge(
        self, jobs: Sequence[Job], nodes: Sequence[Node], now_s: float, own_bytes: int, room: Room
    ) -> None:
        left_s = self.reaches_in_s(room)
        if room.share >= NEAR or (left_s is not None and left_s <= NEAR_S):
            if self._dumps.is_over(now_s):
                self._tell_near(jobs, nodes, own_bytes, room)
        elif left_s is not None and self._warnings.is_over(now_s):
            self._tell_forecast(jobs, own_bytes, room, left_s)

    def reaches_in_s(self, room: Room) -> float | None:
        """Return in how many seconds the limit is reached at the present pace, None if that is not in sight."""
        found = [
            left_s
            for samples in (self._fine, self._coarse)
            if (left_s := reaches_in_s(list(samples), room.left_bytes, room.limit_bytes)) is not None
        ]
        return min(found, default=None)

    def _tell_forecast(self, jobs: Sequence[Job], own_bytes: int, room: Room, left_s: float) -> None:
        self._write(
            jobs, "forecast",
            f"memory: {room.what} of {room.limit_bytes / _MB:,.0f} MB in about {_duration(left_s)}",
            {**_facts(own_bytes, room), "left_s": round(left_s)},
        )  # fmt: skip

    def _tell_near(self, jobs: Sequence[Job], nodes: Sequence[Node], own_bytes: int, room: Room) -> None:
        dump = self._dump()
        children_mb = sum(child.get("memory_mb", 0.0) for child in dump.get("children", ()))
        details = {
            **_facts(own_bytes, room),
            "children_mb": round(children_mb, 1),
            "nodes": [
                {"node_id": node.node_id, "completed": node.completed, "total": node.total}
                for node in nodes[-_MAX_NODES:]
            ],
            **python_facts(),
            **dump,
        }
        self._write(
            jobs, "memory",
            f"memory: {room.share:.0%} of {room.what} ({room.limit_bytes / _MB:,.0f} MB) are used",
            bounded(details),
        )  # fmt: skip

    def _write(self, jobs: Sequence[Job], event_type: str, title: str, details: dict[str, Any]) -> None:
        for job in jobs:
            self._recorder.write(
                EventRow(
                    experiment_id=job.experiment.id,
                    job_id=job.id,
                    node_id=None,
                    event_type=event_type,
                    source=SOURCE,
                    severity="WARNING",
                    title=title,
                    details=details,
                    timestamp=time.time_ns(),
                )
            )


def python_facts() -> dict[str, Any]:
    """Return what Python itself knows of its memory, at a bounded cost: counts of objects by type, never values."""
    blocks = sys.getallocatedblocks()
    facts: dict[str, Any] = {"allocated_blocks": blocks}
    if blocks <= MAX_BLOCKS:
        objects = gc.get_objects()
    else:
        objects = [*gc.get_objects(generation=0), *gc.get_objects(generation=1)]
        facts["objects_are"] = "young ones only, as there are very many"
    counts = Counter(map(type, objects))
    del objects
    facts["objects"] = {
        f"{kind.__module__}.{kind.__qualname__}": count for kind, count in counts.most_common(_MAX_TYPES)
    }
    traced = _traced()
    if traced:
        facts["allocated_at"] = traced
    return facts


def _traced() -> list[str]:
    """Return where most memory was allocated, if the program has tracemalloc on."""
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is None or not tracemalloc.is_tracing():
        return []
    if tracemalloc.get_tracemalloc_memory() > MAX_TRACE_BYTES:
        return ["tracemalloc holds too much to be looked at"]
    statistics = tracemalloc.take_snapshot().statistics("lineno")
    return [
        f"{one.traceback[0].filename}:{one.traceback[0].lineno} {one.size / _MB:.1f} MB in {one.count} blocks"
        for one in statistics[:_MAX_TYPES]
    ]


def _facts(own_bytes: int, room: Room) -> dict[str, Any]:
    return {
        "limit": room.what,
        "limit_bytes": room.limit_bytes,
        "used_bytes": room.used_bytes,
        "own_bytes": own_bytes,
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
