"""The memory side of this process's own control group: its limit, and how often the kernel killed for memory in it.

Only counters that are local to the group are read: those that add up the groups below, or the whole host, would
blame a neighbour's death on the group.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipespan.record.descriptors import open_high

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


class CgroupFiles:
    """Holds the files of a group open, so that each figure is one call of the system.

    Args:
        folder: of the group.

    Raises:
        OSError: it counts no kills for memory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = str(folder)
        try:
            self._events = open_high(folder / "memory.events.local")
            limit, used = "memory.max", "memory.current"
        except OSError:
            self._events = open_high(folder / "memory.oom_control")
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        self._figures = [_opened_if_there(folder / name) for name in (limit, used)]

    def read(self) -> CgroupMemory | None:
        """Return the state of the group; None when it is gone, or does not count kills."""
        kills = _counter(self._events, b"oom_kill")
        if kills is None:
            return None
        limit, used = map(_number, self._figures)
        return CgroupMemory(
            self._path, kills, None if limit is None or limit >= _NO_LIMIT_BYTES else limit, used
        )

    def close(self) -> None:
        """Give back what is held open."""
        for fd in (self._events, *self._figures):
            if fd is not None:
                os.close(fd)


def read_cgroup(folder: Path) -> CgroupMemory | None:
    """Return the state of the group in `folder`; None when it counts no kills for memory."""
    try:
        files = CgroupFiles(folder)
    except OSError:
        return None
    try:
        return files.read()
    finally:
        files.close()


def _opened_if_there(path: Path) -> int | None:
    try:
        return open_high(path)
    except OSError:
        return None


def _counter(fd: int, name: bytes) -> int | None:
    try:
        for line in os.pread(fd, _SHORT_BYTES, 0).splitlines():
            key, _, value = line.partition(b" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def _number(fd: int | None) -> int | None:
    try:
        return None if fd is None else int(os.pread(fd, _SHORT_BYTES, 0))
    except (OSError, ValueError):  # "max"
        return None
