"""Tells when work has stopped moving, with what everything in the process does at that moment.

Who moves, and what was promised, is known to `pipespan.record.movement`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.promise import FLOOR_S, repeat_after_s
from pipespan.record.dump import MAX_DUMP_BYTES, bounded, process_dump, where
from pipespan.record.extras import event_row
from pipespan.record.movement import Broken, Movement, Watched

if TYPE_CHECKING:
    from pipespan.model.resources import ResourceSample
    from pipespan.record.node import Node
    from pipespan.record.recorder import Recorder

CHECK_S: Final = 2.0
"""The nodes are looked at so often: a look costs up to a tenth of a millisecond where nothing else is in the caches."""

SHORT_CHECK_S: Final = 1.0
SHORT_S: Final = 10.0
"""While a node is expected to move sooner than this, the looks come closer."""

LEAST_BETWEEN_EVENTS_S: Final = 60.0
"""Stalls of one job are told no more often."""

LATE_S: Final = 3.0
"""A look that comes so much too late means that this process did not run: the time is not the work's fault."""

MAX_EVENT_BYTES: Final = 4 * MAX_DUMP_BYTES
"""With the stacks of child processes an event has no more than this."""


@dataclass(slots=True)
class _Stall:
    """A promise that is broken now."""

    node: Node
    rested_since: float
    promise_s: float
    is_learnt: bool
    told: int = 0
    tell_at: float = 0.0


class AskChildren:
    """Asks child processes for their stacks without waiting; this one has none to ask."""

    def ask(self, pids: Iterable[int]) -> Sequence[str]:
        """Ask those of `pids` that can answer; return names of the questions."""
        return ()

    def collect(self, names: Sequence[str]) -> Mapping[str, Any] | None:
        """Return the answers by pid once all are there, None before."""
        return {}

    def give_up(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Return the answers that are there, and wait for no more."""
        return {}


@dataclass(slots=True)
class _Pending:
    """An event that waits for the answers of child processes."""

    node: Node
    title: str
    details: dict[str, Any]
    questions: Sequence[str]
    until: float


ANSWER_S: Final = 2.0
"""Child processes get so long to tell their stacks."""


class StuckDetector:
    """Watches the nodes of a recorder; its `look` is called by the ticker's thread.

    Args:
        recorder: whose nodes; events go there.
        expected_s: the promise of nodes for which the program said nothing; None learns it.
        floor_s: learnt promises are never shorter.
        ask_children: how child processes are asked.
        dump: gives what the process does.
    """

    def __init__(
        self, recorder: Recorder, *, expected_s: float | None = None, floor_s: float = FLOOR_S,
        ask_children: AskChildren | None = None, dump: Callable[[], dict[str, Any]] = process_dump,
    ) -> None:  # fmt: skip
        self._recorder = recorder
        self._movement = Movement(expected_s, floor_s)
        self._ask_children = ask_children or AskChildren()
        self._dump = dump
        self._stalls: dict[int, _Stall] = {}
        self._next_event_at: dict[str, float] = {}
        self._before: dict[str, ResourceSample | None] = {}
        self._pending: list[_Pending] = []
        self._looked_at: float | None = None
        self._pause_s = SHORT_CHECK_S

    def look(self, nodes: Sequence[Node], now_s: float, sample: ResourceSample | None) -> None:
        """Look whether `nodes`, all that are open, in order of their start, still move."""
        self._finish_pending(now_s)
        last_s, pause_s = self._looked_at, self._pause_s
        if last_s is not None and now_s < last_s + pause_s:
            return
        self._looked_at = now_s
        if last_s is not None and now_s - last_s > pause_s + LATE_S:
            lost_s = now_s - last_s - pause_s
            self._movement.forgive(lost_s)
            for stall in self._stalls.values():
                stall.rested_since += lost_s
        watched = self._movement.follow(nodes, now_s)
        if any(one.moved_at == now_s for one in watched):
            self._note_samples(watched, now_s, sample)
        is_short = any(one.expected_s is not None and one.expected_s < SHORT_S for one in watched)
        self._pause_s = SHORT_CHECK_S if is_short else CHECK_S
        broken = self._movement.broken(watched, now_s)
        self._end_stalls(broken, now_s)
        for one in broken:
            self._stalled(one, now_s, sample)

    def close(self) -> None:
        """Write what still waits for answers."""
        for one in self._pending:
            one.until = 0.0
        self._finish_pending(time.monotonic())

    def _note_samples(self, watched: Sequence[Watched], now_s: float, sample: ResourceSample | None) -> None:
        for one in watched:
            if one.moved_at == now_s:
                self._before[one.node.job.id] = sample

    def _end_stalls(self, broken: Sequence[Broken], now_s: float) -> None:
        still = {id(one.node): one.node for one in broken}
        for key, stall in list(self._stalls.items()):
            if still.get(key) is stall.node:
                continue
            del self._stalls[key]
            job = stall.node.job
            if not any(other.node.job is job for other in self._stalls.values()):
                job.stall = None
                self._next_event_at.setdefault(job.id, 0.0)
                if not job.is_ended:
                    self._recorder.write(job.row())
            if stall.told and not self._is_deeper_broken(stall.node, broken):
                self._tell_moving(stall, now_s)

    def _is_deeper_broken(self, node: Node, broken: Sequence[Broken]) -> bool:
        """Tell whether the stall only got a more exact place."""
        for one in broken:
            above: Any = one.node.parent
            while above is not None:
                if above is node:
                    return True
                above = above.parent
        return False

    def _tell_moving(self, stall: _Stall, now_s: float) -> None:
        node, rested_s = stall.node, now_s - stall.rested_since
        how = f"has ended ({node.status})" if node.is_ended else "moves again"
        self._write(
            node,
            f"{node.level} {node.node_id!r} {how} after it rested for about {rested_s:.0f} s",
            "moving",
            "INFO",
            {"rested_s": round(rested_s, 1), "stalled_events": stall.told},
        )

    def _stalled(self, one: Broken, now_s: float, sample: ResourceSample | None) -> None:
        node, job = one.node, one.node.job
        stall = self._stalls.get(id(node))
        if stall is None:
            stall = self._stalls[id(node)] = _Stall(node, one.moved_at, one.promise_s, one.is_learnt)
        rested_s = now_s - one.moved_at
        if now_s < max(stall.tell_at, self._next_event_at.get(job.id, 0.0)):
            if job.stall is None:
                self._mark(stall, rested_s, None)
            return
        stall.told += 1
        stall.tell_at = now_s + repeat_after_s(rested_s, LEAST_BETWEEN_EVENTS_S)
        self._next_event_at[job.id] = now_s + LEAST_BETWEEN_EVENTS_S
        dump = self._dump()
        self._mark(stall, rested_s, where(dump))
        how = "its own pace says" if one.is_learnt else "it was expected to move"
        title = f"{node.level} {node.node_id!r} has not moved for {rested_s:.0f} s; {how} every {one.promise_s:.0f} s"
        details = {
            "node_id": node.node_id,
            "rested_s": round(rested_s, 1),
            "promise_s": round(one.promise_s, 1),
            "is_learnt": one.is_learnt,
            "completed": node.completed,
            "total": node.total,
            "where": where(dump),
            "since_progress": deltas(self._before.get(job.id), sample),
            "number": stall.told,
            **dump,
        }
        self._ask_or_write(node, title, details, now_s)

    def _mark(self, stall: _Stall, rested_s: float, place: str | None) -> None:
        """Have the job's row say that it has stalled, now and at each heartbeat."""
        job = stall.node.job
        job.stall = {
            "node_id": stall.node.node_id,
            "rests_since_unix_ns": time.time_ns() - int(rested_s * 1e9),
            "promise_s": round(stall.promise_s, 1),
            "is_learnt": stall.is_learnt,
            "where": place,
        }
        self._recorder.write(job.row())

    def _ask_or_write(self, node: Node, title: str, details: dict[str, Any], now_s: float) -> None:
        questions = self._ask_children.ask(
            [child["pid"] for child in details.get("children", ()) if child.get("pid")]
        )
        if questions:
            self._pending.append(_Pending(node, title, details, questions, now_s + ANSWER_S))
        else:
            self._write(node, title, "stalled", "WARNING", details)

    def _finish_pending(self, now_s: float) -> None:
        for one in list(self._pending):
            answers = self._ask_children.collect(one.questions)
            if answers is None and now_s >= one.until:
                answers = self._ask_children.give_up(one.questions)
            if answers is not None:
                self._pending.remove(one)
                for child in one.details["children"]:
                    if str(child.get("pid")) in answers:
                        child["stacks"] = answers[str(child["pid"])]
                self._write(one.node, one.title, "stalled", "WARNING", bounded(one.details, MAX_EVENT_BYTES))

    def _write(
        self, node: Node, title: str, event_type: str, severity: Any, details: Mapping[str, Any]
    ) -> None:
        self._recorder.write(
            event_row(node, title, event_type=event_type, severity=severity, details=details)
        )


def deltas(before: ResourceSample | None, now: ResourceSample | None) -> dict[str, Any]:
    """Return what the process used between two samples, which are a few seconds older than what they stand for."""
    if before is None or now is None or now.timestamp <= before.timestamp:
        return {}
    seconds = (now.timestamp - before.timestamp) / 1e9
    cpu_s = now.cpu_time_user_s + now.cpu_time_system_s - before.cpu_time_user_s - before.cpu_time_system_s
    found: dict[str, Any] = {
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu_s, 2),
        "cores": round(cpu_s / seconds, 2),
        "memory_bytes": now.memory_rss_bytes - before.memory_rss_bytes,
    }
    for name in ("read_bytes", "write_bytes"):
        first, last = getattr(before, name), getattr(now, name)
        if first is not None and last is not None:
            found[name] = last - first
    return found
