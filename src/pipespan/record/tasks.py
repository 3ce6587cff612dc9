"""Where all asyncio tasks of all event loops stand, and what they await; looked at from any thread, values never."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from pipespan.record.stacks import MAX_CHARS, cut, grouped, line_of

MAX_TASKS: Final = 2_000
"""No more tasks are looked at: the look takes some 5 microseconds for each."""

MAX_AWAITS: Final = 200
"""A chain of awaits is followed no further."""

_COROUTINE: Final = ("cr_frame", "cr_await")
_GENERATOR: Final = ("gi_frame", "gi_yieldfrom")
_ASYNC_GENERATOR: Final = ("ag_frame", "ag_await")


def task_stacks() -> list[dict[str, Any]]:
    """Return the stacks of the tasks that are not done; none where asyncio was never imported."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return []
    entries: list[dict[str, Any]] = []
    for number, task in enumerate(_all_tasks(asyncio)):
        if number >= MAX_TASKS:
            entries.append({"name": "... more tasks left out ...", "stack": []})
            break
        try:
            if not task.done():
                entries.append(_entry(task, asyncio))
        except Exception:  # noqa: BLE001, S112 - a task of somebody else's making
            continue
    return grouped(entries)


def _all_tasks(asyncio: Any) -> Iterator[Any]:
    """Yield the tasks of all loops, each once."""
    seen: set[int] = set()
    tasks = sys.modules.get("asyncio.tasks")
    # Weak sets of the library; names by version: 3.10 and 3.11; 3.12 and 3.13; 3.12 and later.
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):
        for task in _members(getattr(tasks, name, ())):
            if id(task) not in seen:
                seen.add(id(task))
                yield task
    if sys.version_info >= (3, 14):
        # There the library lists C tasks by loop only; loops are found where they run.
        for loop in _running_loops():
            for task in asyncio.all_tasks(loop):
                if id(task) not in seen:
                    seen.add(id(task))
                    yield task


def _members(found: Any) -> list[Any]:
    # The set may change while it is copied, by another thread.
    for _ in range(5):
        try:
            return list(found)
        except RuntimeError:
            continue
    return []


def _running_loops() -> list[Any]:
    loops: dict[int, Any] = {}
    for innermost in sys._current_frames().values():  # noqa: SLF001 - the documented way
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code.co_name == "run_forever":
                loop = frame.f_locals.get("self")
                if loop is not None:
                    loops[id(loop)] = loop
            frame = frame.f_back
    return list(loops.values())


def _entry(task: Any, asyncio: Any) -> dict[str, Any]:
    lines, awaited = _chain(task.get_coro())
    entry: dict[str, Any] = {"name": str(task.get_name())[:MAX_CHARS], "stack": cut(lines[::-1])}
    waits_for = _awaited(getattr(task, "_fut_waiter", None) or awaited, asyncio)
    if waits_for is not None:
        entry["waits_for"] = waits_for
    return entry


def _chain(coroutine: Any) -> tuple[list[str], Any]:
    """Return the lines of a suspended coroutine and of what it awaits, outermost first, and what stands at the end."""
    lines: list[str] = []
    one = coroutine
    while one is not None and len(lines) < MAX_AWAITS:
        for frame_name, next_name in (_COROUTINE, _GENERATOR, _ASYNC_GENERATOR):
            if hasattr(one, frame_name):
                frame = getattr(one, frame_name)
                if frame is not None:
                    lines.append(line_of(frame))
                one = getattr(one, next_name)
                break
        else:
            return lines, one
    return lines, None


def _awaited(what: Any, asyncio: Any) -> str | None:
    """Return what is awaited by its kind, a task by its name; a repr could show values."""
    if what is None:
        return None
    if isinstance(what, asyncio.Task):
        return f"task {what.get_name()}"[:MAX_CHARS]
    kind = type(what)
    return f"{kind.__module__}.{kind.__qualname__}"[:MAX_CHARS]
