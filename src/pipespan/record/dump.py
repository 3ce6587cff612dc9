"""What this process does right now, as one bounded document: threads, tasks, what they wait for, child processes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipespan.record.stacks import thread_stacks
from pipespan.record.tasks import task_stacks
from pipespan.record.waits import children, thread_wait

MAX_DUMP_BYTES: Final = 128 << 10
"""A larger document is cut, with a word."""

_LIBRARY: Final = str(Path(os.__file__).parent)
_OURS: Final = str(Path(__file__).parents[1])


def process_dump() -> dict[str, Any]:
    """Return where everything in this process stands; takes some milliseconds, more with many threads and tasks."""
    started_s = time.perf_counter()
    threads, own = thread_stacks()
    for entry in threads:
        native_id = entry.pop("native_id", None)
        if wait := thread_wait(native_id):
            entry["wait"] = wait
    dump: dict[str, Any] = {
        "pid": os.getpid(),
        "threads": threads,
        "own_threads_left_out": own,
        "tasks": task_stacks(),
        "children": children(),
        "order": "innermost frame first",
    }
    dump = bounded(dump)
    dump["took_ms"] = round((time.perf_counter() - started_s) * 1e3, 1)
    return dump


def bounded(dump: dict[str, Any], max_bytes: int = MAX_DUMP_BYTES) -> dict[str, Any]:
    """Return `dump` in at most about `max_bytes` of JSON: the later half of its longest list goes until it fits."""
    while (size := len(json.dumps(dump, default=str))) > max_bytes:
        lists = {name: value for name, value in dump.items() if isinstance(value, list) and len(value) > 1}
        if not lists:
            return {"pid": dump.get("pid"), "cut": f"the dump had {size} bytes and could not be cut"}
        longest = max(lists, key=lambda name: len(json.dumps(lists[name], default=str)))
        kept = lists[longest][: len(lists[longest]) // 2]
        dump = {**dump, longest: kept, "cut": "some of the lists were cut, as the dump was too large"}
    return dump


def where(dump: Mapping[str, Any]) -> str | None:
    """Return where the main thread stands, in a few words: the program's innermost line, and the system call."""
    main = next((entry for entry in dump.get("threads", ()) if entry.get("is_main")), None)
    if main is None or not main["stack"]:
        return None
    line = next((one for one in main["stack"] if _is_of_program(one)), main["stack"][0])
    call = main.get("wait", {}).get("system_call")
    waiting = f", in the system call {call}" if call and main["wait"].get("state") != "R" else ""
    return f"{main['name']} at {_short(line)}{waiting}"


def _is_of_program(line: str) -> bool:
    return not line.startswith((_LIBRARY, _OURS, "<frozen", "...")) and "site-packages" not in line


def _short(line: str) -> str:
    place, separator, function = line.rpartition(" in ")
    return f"{Path(place).name}{separator}{function}" if separator else line
