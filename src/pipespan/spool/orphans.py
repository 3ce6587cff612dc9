"""Finds streams whose process is gone, so that somebody else delivers what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipespan.spool.layout import LANES, LOCK, StreamMeta, segments
from pipespan.spool.lock import FileLock


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream found on disk, and how much of it waits at most (what is shipped already may be counted)."""

    folder: Path
    meta: StreamMeta
    size_bytes: int


def find_streams(spool_dir: Path) -> list[Waiting]:
    """Return all streams under `spool_dir`, oldest first; a folder without readable meta data is not one."""
    try:
        names = os.listdir(spool_dir)
    except OSError:
        return []
    found = []
    for name in names:
        folder = spool_dir / name
        meta = StreamMeta.load(folder)
        if meta is not None and meta.stream_id == name:
            found.append(Waiting(folder, meta, _size(folder)))
    return sorted(found, key=lambda one: one.meta.created_unix_ns)


def _size(folder: Path) -> int:
    total = 0
    for lane in LANES:
        for segment in segments(folder, lane):
            try:
                total += segment.path.stat().st_size
            except OSError:  # shipped and removed meanwhile
                continue
    return total


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Take a stream over while the block runs; gives False when its process lives or somebody else has it.

    Never call it for a stream of this very process: closing the lock file would give the stream up.
    """
    try:
        lock = FileLock.try_take(folder / LOCK) if folder.is_dir() else None
    except OSError:
        lock = None
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()
