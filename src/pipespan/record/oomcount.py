"""The memory side of this process's own control group: its limit, and how often the kernel killed for memory in it.

Only counters that are local to the group are read: those that add up the groups below, or the whole host, would
blame a neighbour's death on the group.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SELF: Final = Path("/proc/self/cgroup")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_NO_LIMIT_BYTES: Final = 1 << 60
"""Version 1 has no word for "none": it gives a number near the largest."""
_SHORT_BYTES: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """A control group as it is now.

    Attributes:
        path: folder of the group.
        oom_kills: processes of this very group that the kernel has killed for want of memory.
        limit_bytes: how much the group may use; None without a limit of its own.
        used_bytes: how much it uses.
    """

    path: str
    oom_kills: int
    limit_bytes: int | None
    used_bytes: int | None


def own_cgroup(proc_cgroup: Path = _SELF, mounts: Path = _MOUNTS) -> Path | None:
    """Return the folder of the memory group that this process is in; None where there is none to be seen."""
    try:
        lines = proc_cgroup.read_text(encoding="utf-8").splitlines()
        mounted = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    places = [line.partition(":")[2].partition(":") for line in lines]
    for wanted in ("memory", ""):
        for controllers, _, place in places:
            if wanted in controllers.split(","):
                found = _folder(place, "cgroup" if wanted else "cgroup2", wanted, mounted)
                if found is not None and read_cgroup(found) is not None:
                    return found
    return None


def _folder(place: str, kind: str, controller: str, mounted: list[str]) -> Path | None:
    for line in mounted:
        before, _, after = line.partition(" - ")
        words, behind = before.split(), after.split()
        if len(words) < 5 or len(behind) < 3 or behind[0] != kind:
            continue
        if controller and controller not in behind[2].split(","):
            continue
        root, point = words[3], words[4]
        # Inside a container the mount shows a part of the hierarchy only, of which the group is told from its root.
        inside = place.removeprefix(root.rstrip("/")) if place.startswith(root.rstrip("/")) else place
        return Path(point) / inside.lstrip("/")
    return None


def read_cgroup(folder: Path) -> CgroupMemory | None:
    """Return the state of the group in `folder`; None when it counts no kills for memory."""
    for name in ("memory.events.local", "memory.oom_control"):
        kills = _counter(folder / name, "oom_kill")
        if kills is not None:
            break
    else:
        return None
    is_v1 = name == "memory.oom_control"
    limit = _number(folder / ("memory.limit_in_bytes" if is_v1 else "memory.max"))
    used = _number(folder / ("memory.usage_in_bytes" if is_v1 else "memory.current"))
    return CgroupMemory(
        str(folder), kills, None if limit is None or limit >= _NO_LIMIT_BYTES else limit, used
    )


def _counter(path: Path, name: str) -> int | None:
    try:
        for line in _read(path).decode("ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(_read(path))
    except (OSError, ValueError):  # "max"
        return None


def _read(path: Path) -> bytes:
    """Return what a short file of the kernel says, with three system calls: each one gives the interpreter away."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return os.read(fd, _SHORT_BYTES)
    finally:
        os.close(fd)
