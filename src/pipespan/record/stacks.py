"""Where all threads of this process stand: files, lines and names of functions, never values; bounded.

No source lines either: reading them may block on the very disk that the program hangs on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final

MAX_FRAMES: Final = 60
"""Of a deeper stack the innermost two thirds and the outermost third of so many are kept."""

MAX_STACKS: Final = 64
"""So many different stacks of threads are kept, and as many of tasks."""

MAX_NAMES: Final = 12
"""Of threads with one and the same stack so many are named."""

MAX_CHARS: Final = 300
"""A line is cut at this length."""

OWN_PREFIX: Final = "pipespan-"
"""Names of our own threads start so; they are left out."""


def line_of(frame: FrameType, line_number: int | None = None) -> str:
    """Return one frame as a line: file, line number, function."""
    code = frame.f_code
    name = getattr(code, "co_qualname", code.co_name)  # qualified from Python 3.11 on
    return f"{code.co_filename}:{line_number or frame.f_lineno} in {name}"[:MAX_CHARS]


def stack_of(frame: FrameType | None) -> list[str]:
    """Return the lines of a stack, innermost first; the middle of a deep one is cut out with a word."""
    lines: list[str] = []
    while frame is not None:
        lines.append(line_of(frame))
        frame = frame.f_back
    return cut(lines)


def cut(lines: list[str]) -> list[str]:
    """Return `lines` without their middle where there are too many, with a word on how many are missing."""
    if len(lines) <= MAX_FRAMES:
        return lines
    head = MAX_FRAMES * 2 // 3
    tail = MAX_FRAMES - head
    return [*lines[:head], f"... {len(lines) - MAX_FRAMES} frames left out ...", *lines[-tail:]]


def thread_stacks() -> tuple[list[dict[str, Any]], int]:
    """Return the stacks of this process's threads, and how many threads of our own were left out.

    Threads that stand at one and the same place share an entry; the main thread comes first.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    native = {thread.ident: thread.native_id for thread in threading.enumerate()}
    main = threading.main_thread().ident
    entries: list[dict[str, Any]] = []
    own = 0
    for ident, frame in sorted(sys._current_frames().items(), key=lambda one: one[0] != main):  # noqa: SLF001 - the documented way
        name = names.get(ident, f"thread {ident}")
        if name.startswith(OWN_PREFIX):
            own += 1
            continue
        entries.append(
            {"name": name, "is_main": ident == main, "native_id": native.get(ident), "stack": stack_of(frame)}
        )
    return grouped(entries), own


def grouped(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries with the same stack as one that has all their names; bounded, with a word on what is missing."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    left_out = 0
    for entry in entries:
        key = (entry.get("waits_for"), entry.get("is_main"), *entry["stack"])
        same = known.get(key)
        if same is None:
            if len(known) >= MAX_STACKS:
                left_out += 1
                continue
            known[key] = {**entry, "count": 1, "names": [entry["name"]]}
        else:
            same["count"] += 1
            if len(same["names"]) < MAX_NAMES:
                same["names"].append(entry["name"])
    found = [_tidy(entry) for entry in known.values()]
    if left_out:
        found.append({"name": f"... {left_out} more left out ...", "stack": []})
    return found


def _tidy(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["count"] == 1:
        del entry["names"], entry["count"]
    return entry
