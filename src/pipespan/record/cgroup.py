"""How much memory this process may use: limits of its control group and of those above, of both versions, or the host.

Which files to read is found out once; a look reads a few of them, some ten microseconds each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_UNLIMITED_BYTES: Final = 1 << 60
"""Version 1 writes a huge number where there is no limit."""


@dataclass(frozen=True, slots=True)
class Room:
    """A limit and how much of it is used.

    Attributes:
        what: which limit, for people.
        limit_bytes: how much there may be.
        used_bytes: how much there is, without caches that the kernel gives back by itself.
    """

    what: str
    limit_bytes: int
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        """How much is left, never negative."""
        return max(self.limit_bytes - self.used_bytes, 0)

    @property
    def share(self) -> float:
        """How much of it is used, 0 to 1 and more."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """The memory files of one control group."""

    folder: Path
    limit_names: tuple[str, ...]
    usage_name: str
    cache_name: str

    def limit_bytes(self) -> int | None:
        """Return the tightest limit that is set here, None without one."""
        limits = [_number(self.folder / name) for name in self.limit_names]
        return min((one for one in limits if one is not None and one < _UNLIMITED_BYTES), default=None)

    def used_bytes(self) -> int | None:
        """Return what counts towards the limit, without the file cache that can be given back."""
        usage = _number(self.folder / self.usage_name)
        if usage is None:
            return None
        return max(usage - self._cache_bytes(), 0)

    def _cache_bytes(self) -> int:
        for line in _text(self.folder / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == self.cache_name and value.strip().isdecimal():
                return int(value)
        return 0


def own_groups(proc: Path = Path("/proc/self")) -> list[Group]:
    """Return this process's control groups with memory files, and those above them; none where there are none."""
    return list(_groups(_text(proc / "cgroup"), _text(proc / "mountinfo")))


def _groups(cgroup: str, mountinfo: str) -> Iterator[Group]:
    for line in cgroup.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            for folder in _folders(_mounts(mountinfo, "cgroup2", None), path, "memory.current"):
                yield Group(folder, ("memory.max", "memory.high"), "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            for folder in _folders(_mounts(mountinfo, "cgroup", "memory"), path, "memory.usage_in_bytes"):
                yield Group(
                    folder, ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
                )


def _mounts(mountinfo: str, kind: str, controller: str | None) -> Iterator[tuple[str, Path]]:
    """Yield what part of the hierarchy is mounted, and where."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        places, words = before.split(), after.split()
        if len(places) < 5 or len(words) < 3 or words[0] != kind:
            continue
        if controller is None or controller in words[-1].split(","):
            yield places[3], Path(places[4])


def _folders(mounts: Iterator[tuple[str, Path]], path: str, telling: str) -> Iterator[Path]:
    for root, place in mounts:
        below = path[len(root) :] if root != "/" and path.startswith(root) else path
        folder = place / below.strip("/")
        # Inside a container the path may be that of the host: then only the top is there.
        if not folder.is_dir():
            folder = place
        while True:
            if (folder / telling).is_file():
                yield folder
            if folder == place or place not in folder.parents:
                break
            folder = folder.parent


class Limits:
    """Reads what room there is; the tightest one counts.

    Args:
        given_bytes: a limit to keep to instead, on this process's own memory.
        groups: whose limits to read, those of this process by default.

    Attributes:
        smallest_bytes: the smallest limit at the last look; 0 before the first, and where nothing is known.
    """

    def __init__(self, given_bytes: int | None = None, groups: Sequence[Group] | None = None) -> None:
        self._given_bytes = given_bytes
        self.smallest_bytes = given_bytes or 0
        if groups is None:
            groups = () if given_bytes is not None else own_groups()
        self._limited = [(group, limit) for group in groups if (limit := group.limit_bytes()) is not None]

    def room(self, own_bytes: int) -> Room | None:
        """Return the limit that leaves the least room; None where nothing is known.

        Args:
            own_bytes: resident memory of this process.
        """
        if self._given_bytes is not None:
            return Room("the limit that was set", self._given_bytes, own_bytes)
        found = [
            Room(f"the limit of {str(group.folder)!r}", limit, used)
            for group, limit in self._limited
            if (used := group.used_bytes()) is not None
        ]
        try:
            memory = psutil.virtual_memory()
            found.append(Room("the host's memory", memory.total, memory.total - memory.available))
        except (psutil.Error, OSError, RuntimeError):
            pass
        self.smallest_bytes = min((room.limit_bytes for room in found), default=0)
        return min(found, key=lambda room: room.left_bytes, default=None)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
