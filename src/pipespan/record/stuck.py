"""Tells when work has stopped moving, with what everything in the process does at that moment.

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
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.promise import FLOOR_S, Gaps, repeat_after_s
from pipespan.record.dump import MAX_DUMP_BYTES, bounded, process_dump, where
from pipespan.record.extras import event_row

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

MAX_WATCHED: Final = 1_000
"""Of more open nodes only so many, the oldest, are watched."""

LATE_S: Final = 3.0
"""A look that comes so much too late means that this process did not run: the time is not the work's fault."""

MAX_EVENT_BYTES: Final = 4 * MAX_DUMP_BYTES
"""With the stacks of child processes an event has no more than this."""

_MAX_KINDS: Final = 16
_NUMBERS: Final = re.compile(r"\d+")
_MARKS: Final = re.compile(r"(@\w+)?(#\d+)?$")


@dataclass(slots=True)
class _Watched:
    """What is known of one open node's movement; times are those of the detector's clock."""

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
        self._expected_s = expected_s
        self._floor_s = floor_s
        self._ask_children = ask_children or AskChildren()
        self._dump = dump
        self._watched: dict[int, _Watched] = {}
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
            self._forgive(now_s - last_s - pause_s)
        watched = self._follow(nodes[:MAX_WATCHED], now_s)
        if any(one.moved_at == now_s for one in watched):
            self._note_samples(watched, now_s, sample)
        is_short = any(one.expected_s is not None and one.expected_s < SHORT_S for one in watched)
        self._pause_s = SHORT_CHECK_S if is_short else CHECK_S
        broken = self._broken(watched, now_s)
        self._end_stalls(broken, now_s)
        for one, promise_s, is_learnt in broken:
            self._stalled(one, promise_s, now_s, sample, is_learnt=is_learnt)

    def close(self) -> None:
        """Write what still waits for answers."""
        for one in self._pending:
            one.until = 0.0
        self._finish_pending(time.monotonic())

    # Who moves.

    def _forgive(self, lost_s: float) -> None:
        """Take time off the nodes' rest in which nothing of this process ran: it was stopped, or the host slept."""
        for one in self._watched.values():
            one.own_at += lost_s
            one.moved_at += lost_s
        for stall in self._stalls.values():
            stall.rested_since += lost_s

    def _follow(self, nodes: Sequence[Node], now_s: float) -> list[_Watched]:
        known, self._watched = self._watched, {}
        found: list[_Watched] = []
        for node in nodes:
            one = known.get(id(node))
            if one is None or one.node is not node:
                expected_s = node.expected_s or self._expected_s
                one = _Watched(node, expected_s, now_s, now_s, node.completed, node.text, node.ended_child)
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

    def _take_movement(self, one: _Watched, now_s: float) -> None:
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

    # What was promised.

    def _broken(self, watched: Sequence[_Watched], now_s: float) -> list[tuple[_Watched, float, bool]]:
        """Return the deepest nodes that rest for longer than promised, with the promise and whether it was learnt."""
        broken: list[tuple[_Watched, float, bool]] = []
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
                broken.append((one, promise_s, is_learnt))
        return broken

    def _promise_of(self, one: _Watched) -> tuple[float | None, bool]:
        if one.expected_s is not None:
            return _longer(one.expected_s, one.below_said_s), False
        learnt_s = self._learnt_s(one)
        return (None if learnt_s is None else _longer(learnt_s, one.below_s)), True

    def _learnt_s(self, one: _Watched) -> float | None:
        if one.gaps.count and not one.node.has_done_all:
            return one.gaps.promise_s(self._floor_s)
        promises = [one.child_gaps.get(kind, Gaps()).promise_s(self._floor_s) for kind in one.open_kinds]
        known = [promise_s for promise_s in promises if promise_s is not None]
        # A child of a kind that never ended before may take any time.
        return max(known) if known and len(known) == len(promises) else None

    # What is told.

    def _note_samples(self, watched: Sequence[_Watched], now_s: float, sample: ResourceSample | None) -> None:
        for one in watched:
            if one.moved_at == now_s:
                self._before[one.node.job.id] = sample

    def _end_stalls(self, broken: Sequence[tuple[_Watched, float, bool]], now_s: float) -> None:
        still = {id(one.node) for one, _, _ in broken}
        for key, stall in list(self._stalls.items()):
            if key in still and self._watched[key].node is stall.node:
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

    def _is_deeper_broken(self, node: Node, broken: Sequence[tuple[_Watched, float, bool]]) -> bool:
        """Tell whether the stall only got a more exact place."""
        for one, _, _ in broken:
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

    def _stalled(
        self, one: _Watched, promise_s: float, now_s: float, sample: ResourceSample | None, *, is_learnt: bool
    ) -> None:
        node, job = one.node, one.node.job
        stall = self._stalls.get(id(node))
        if stall is None:
            stall = self._stalls[id(node)] = _Stall(node, one.moved_at, promise_s, is_learnt)
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
        how = "its own pace says" if is_learnt else "it was expected to move"
        title = (
            f"{node.level} {node.node_id!r} has not moved for {rested_s:.0f} s; {how} every {promise_s:.0f} s"
        )
        details = {
            "node_id": node.node_id,
            "rested_s": round(rested_s, 1),
            "promise_s": round(promise_s, 1),
            "is_learnt": is_learnt,
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


def kind_of(node_id: str) -> str:
    """Return what nodes of a series have in common: the last name of the id, without numbers and marks."""
    return _NUMBERS.sub("0", _MARKS.sub("", node_id.rpartition("/")[2]))


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


def _longer(one_s: float | None, other_s: float | None) -> float | None:
    if one_s is None or other_s is None:
        return one_s if other_s is None else other_s
    return max(one_s, other_s)
