"""The files of a stream while its process writes to them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pipespan.spool.lane import LaneWriter
from pipespan.spool.layout import LANES, LOCK, Lane, StreamMeta, remove_stream
from pipespan.spool.lock import FileLock
from pipespan.spool.owner import this_process
from pipespan.spool.private import make_folder
from pipespan.spool.tail import Tail


class OpenStream:
    """An open stream.

    Args:
        spool_dir: the folder is made there.
        stream_id: names it.
        target: which database the rows are for (`StreamMeta.target`).
        segment_bytes: size at which a segment is closed.

    Raises:
        OSError: nothing can be written there.
    """

    def __init__(self, spool_dir: Path, stream_id: str, target: str, segment_bytes: int) -> None:
        owner = this_process()
        self.meta = StreamMeta(
            stream_id, target, owner.host, owner.pid, time.time_ns(),
            owner.boot_id, owner.pid_namespace, owner.start_ticks,
        )  # fmt: skip
        self.folder = spool_dir / self.meta.stream_id
        self.lanes: dict[Lane, LaneWriter] = {}
        make_folder(self.folder)
        lock = FileLock.try_take(self.folder / LOCK)
        if lock is None:
            raise OSError(f"cannot lock {str(self.folder)!r}")
        self.lock = lock
        try:
            self.meta.save(self.folder)
            for lane in LANES:
                self.lanes[lane] = LaneWriter(self.folder, lane, segment_bytes)
        except OSError:
            self.discard()  # it is tried again each second while the disk is full
            raise

    def tails(self) -> dict[Lane, Tail]:
        """Return what reads the lanes while this process writes them; nothing where the platform cannot do so."""
        if not hasattr(os, "pread"):
            return {}
        return {lane: _tail_of(self.folder, lane, writer) for lane, writer in self.lanes.items()}

    def close(self) -> None:
        """Close all files and give the lock back."""
        for lane in self.lanes.values():
            lane.close()
        self.lock.release()

    def discard(self) -> None:
        """Close a stream that was never written to, and remove it."""
        remove_stream(self.folder)
        self.close()


def _tail_of(folder: Path, lane: Lane, writer: LaneWriter) -> Tail:
    return Tail(folder, lane, lambda: writer.open_bytes)
