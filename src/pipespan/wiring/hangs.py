"""Turns what the timer in C wrote into events, for processes of this host whose interpreter is held."""

from __future__ import annotations

import socket
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings
from pipespan.errors import OffsetError, StoreError
from pipespan.record.hangtimer import HANG_FILE, read_hang
from pipespan.spool.asking import Work, live_work
from pipespan.wiring.closing import ship_rows
from pipespan.wiring.lookout import hang_event
from pipespan.wiring.stores import known_spool_dirs, open_sink
from pipespan.wiring.target import target_of

if TYPE_CHECKING:
    from pipespan.store.base import Sink

SETTLED_S: Final = 0.2
"""The timer writes its stacks in many pieces, one after the other."""

_NAMESPACE: Final = uuid.UUID("6c9dd6f3-7a1b-4b0e-9a5e-3c1a2f7f4d11")


def tell_hangs_quietly(settings: Settings) -> None:
    """Write an event for each process of this host whose interpreter is held; a reader calls it before it looks."""
    held: list[tuple[Work, str, str]] = []
    target = target_of(settings)
    for work in live_work(known_spool_dirs(settings), socket.gethostname()):
        path = work.folder / HANG_FILE
        try:
            status = path.stat()
        except OSError:
            continue
        if time.time() - status.st_mtime < SETTLED_S:
            continue  # it may be written just now
        if status.st_size and work.meta.target == target and (stacks := read_hang(path)):
            held.append((work, f"{work.meta.stream_id}/{status.st_mtime_ns}", stacks))
    if held:
        with suppress(StoreError):  # who opens the database next says what is wrong with it
            sink = open_sink(settings)
            try:
                for work, key, stacks in held:
                    _tell(sink, work, key, stacks)
            finally:
                sink.close()


def _tell(sink: Sink, work: Work, key: str, stacks: str) -> None:
    rows = [hang_event(str(job.get("experiment_id")), str(job["job_id"]), stacks, None) for job in work.jobs]
    # The same file makes the same stream, so that many readers write one event.
    with suppress(OffsetError):
        ship_rows(sink, rows, uuid.uuid5(_NAMESPACE, key))
