"""Gives children of one parent their ids."""

from __future__ import annotations

import re
from typing import Final

from pipespan.model.ids import child_id, is_plain, joined, prefix_of, segment_of

_REPEAT: Final = re.compile(r"#(?=\d+$)")
"""What would make a name look like a repeat of another one."""


class ChildNames:
    """Counts repeated names under one parent; the first child of a planned name takes the planned id.

    The caller holds a lock.
    """

    __slots__ = ("_mark", "_parent_id", "_planned", "_prefix", "_seen")

    def __init__(self, parent_id: str | None, mark: str) -> None:
        self._parent_id = parent_id
        self._prefix = prefix_of(parent_id)
        self._mark = mark
        self._seen: dict[str, int] = {}
        self._planned: dict[str, list[str]] = {}

    def take(self, name: str, key: str | None) -> str:
        """Return the id of a child that starts; an explicit `key` is taken as it is."""
        if key is None and not self._planned and (repeat := self._seen.get(name)) is not None:
            # Seen before, so that it stands in the path as it is: what loops make most of.
            self._seen[name] = repeat = repeat + 1
            return joined(self._prefix, f"{name}{self._mark}#{repeat}")
        if key is not None:
            node_id = child_id(self._parent_id, key)
            for ids in self._planned.values():
                if node_id in ids:
                    ids.remove(node_id)
            return node_id
        if self._planned:
            planned = self._planned.get(name)
            if planned:
                return planned.pop(0)
        return self._new(name)

    def plan(self, name: str) -> str:
        """Return the id of a child that is announced and starts later."""
        node_id = self._new(name)
        self._planned.setdefault(name, []).append(node_id)
        return node_id

    def unstarted(self) -> list[tuple[str, str]]:
        """Return (name, id) of the children that were planned and never started."""
        return [(name, node_id) for name, ids in self._planned.items() for node_id in ids]

    def _new(self, name: str) -> str:
        # Counted by what stands in the path: `a/b` and `a:b` are the same there.
        seen, segment = self._seen, name
        if name not in seen and ("#" in name or not is_plain(name)):
            segment = _REPEAT.sub(":", segment_of(name))
        repeat = seen[segment] = seen.get(segment, 0) + 1
        segment += self._mark
        return joined(self._prefix, segment if repeat == 1 else f"{segment}#{repeat}")
