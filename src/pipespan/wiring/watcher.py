"""The watcher: looks every two seconds whose lock has fallen, and has that delivered and certified.

It is a process of its own, because a process cannot tell its own death. For a death it starts a helper, which may
take its time with the database. What it needs beyond the lock is a pidfd of each process that it watches, by which
newer kernels tell the exit status to others than the parent. In threads of their own it ships for those that live
(`pipespan.store.courier`); whatever becomes of these, the watch goes on.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings, load_settings
from pipespan.spool.exitnote import ExitNote, exit_note, write_exit_note
from pipespan.spool.lock import FileLock
from pipespan.spool.orphans import Waiting, claim, find_streams
from pipespan.spool.owner import Owner, fate_of, read_stat, this_process
from pipespan.wiring.courier import start_courier
from pipespan.wiring.stores import known_spool_dirs, preload
from pipespan.wiring.target import target_of
from pipespan.wiring.watching import MODULE, lock_path

if TYPE_CHECKING:
    from pipespan.store.base import Source

LOOK_EVERY_S: Final = 2.0
IDLE_S: Final = 300.0
"""Without a stream the watcher waits so long for the next one, then it ends: who runs a program again and again finds
it ready to ship, and saves the fifth of a second of CPU that its start takes.
"""

LONGEST_PAUSE_S: Final = 60.0
"""Between two tries to deliver one stream: its database may be away for long, or its process beyond our sight."""

MAX_PIDFDS: Final = 500
"""So many processes are watched by descriptor; of further ones only the end is seen, not the exit status."""

DELIVERY_S: Final = 60.0
_TAKE_LOCK_S: Final = 1.0
_SEEN_BY: Final = "the watcher"

_PIDFD_GET_INFO: Final = 0xC040FF0B  # _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info of 64 bytes)
_INFO_BYTES: Final = 64
_PIDFD_INFO_EXIT: Final = 1 << 3
_EXIT_CODE_AT: Final = 60


class Watch:
    """What the watcher knows of the streams of one database.

    Args:
        settings: whose spool folders, and which database.
        deliver: starts the helper and returns it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        deliver: Callable[[], subprocess.Popen[bytes]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._target = target_of(settings)
        self._deliver = deliver
        self._clock = clock
        self._here = this_process()
        self._pidfds: dict[str, int | None] = {}
        self._tries: dict[str, tuple[float, float]] = {}
        self._helper: subprocess.Popen[bytes] | None = None

    def look(self) -> bool:
        """Look at all streams once; return whether there are any."""
        found = [
            one
            for spool_dir in known_spool_dirs(self._settings)
            for one in find_streams(spool_dir)
            if one.meta.target == self._target
        ]
        self._forget({one.meta.stream_id for one in found})
        for one in found:
            if one.meta.stream_id not in self._pidfds and len(self._pidfds) < MAX_PIDFDS:
                self._pidfds[one.meta.stream_id] = open_pidfd(one.meta.owner, self._here)
        orphans = [one for one in found if _is_orphan(one.folder)]
        for one in orphans:
            self._note_exit(one)
        self._have_delivered(orphans)
        return bool(found)

    def _forget(self, known: set[str]) -> None:
        for stream_id in [one for one in self._pidfds if one not in known]:
            fd = self._pidfds.pop(stream_id)
            self._tries.pop(stream_id, None)
            if fd is not None:
                os.close(fd)

    def _note_exit(self, one: Waiting) -> None:
        fd = self._pidfds.get(one.meta.stream_id)
        note = None if fd is None else exit_of(fd)
        stat = read_stat(one.meta.pid)
        if note is None and stat is not None and stat.has_ended and stat.start_ticks == one.meta.start_ticks:
            note = exit_note(stat.wait_status, _SEEN_BY)
        if note is not None:
            write_exit_note(one.folder, note)

    def _have_delivered(self, orphans: Sequence[Waiting]) -> None:
        if self._helper is not None:
            if self._helper.poll() is None:
                return
            self._helper = None
        now_s = self._clock()
        due = [one for one in orphans if now_s >= self._tries.get(one.meta.stream_id, (0.0, 0.0))[0]]
        if not due:
            return
        for one in due:
            pause_s = min(max(self._tries.get(one.meta.stream_id, (0.0, 1.0))[1] * 2, 2.0), LONGEST_PAUSE_S)
            self._tries[one.meta.stream_id] = (now_s + pause_s, pause_s)
        try:
            self._helper = self._deliver()
        except OSError:
            pass  # no process to be had now; the next try comes


def _is_orphan(folder: Path) -> bool:
    with claim(folder) as is_ours:
        return is_ours


def open_pidfd(owner: Owner, here: Owner) -> int | None:
    """Return a descriptor of the very process `owner`; None where there is none to be had."""
    if not hasattr(os, "pidfd_open") or fate_of(owner, here) != "lives":
        return None
    try:
        fd = os.pidfd_open(owner.pid)
    except OSError:
        return None
    # Whose pid it was a moment ago may have ended meanwhile.
    if fate_of(owner, here) == "lives":
        return fd
    os.close(fd)
    return None


def exit_of(pidfd: int) -> ExitNote | None:
    """Return how the process of a pidfd ended; None while it lives or is not reaped, and on kernels before 6.15."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 - not on Windows

    info = bytearray(_INFO_BYTES)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    (told,) = struct.unpack_from("=Q", info, 0)
    if not told & _PIDFD_INFO_EXIT:
        return None
    (status,) = struct.unpack_from("=i", info, _EXIT_CODE_AT)
    return exit_note(status, _SEEN_BY)


def watch(settings: Settings) -> None:
    """Watch until there is nothing to watch; returns at once when somebody else does."""
    lock = _take(lock_path(settings))
    if lock is None:
        return
    with _without_collections():
        courier = start_courier(settings)
        if courier is not None:
            with suppress(ImportError):  # told to the program that wants it
                preload(settings, may_fork=False)  # by now, as whoever has started this is about to ship
                courier.get_ready()
    watching = Watch(settings, _start_helper)
    idle_since_s = time.monotonic()
    # A folder that was removed takes the lock's file with it: then another watcher may run, and we are no use.
    while lock_path(settings).exists():
        if watching.look():
            idle_since_s = time.monotonic()
        elif time.monotonic() - idle_since_s >= IDLE_S:
            break
        time.sleep(LOOK_EVERY_S)
    if courier is not None:
        courier.close()
    lock.release()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Collect no garbage meanwhile, and never look through what was loaded: a tenth of the time that loading takes."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _take(path: Path) -> FileLock | None:
    # Somebody who only looks whether a watcher runs holds the lock for a moment, too.
    deadline = time.monotonic() + _TAKE_LOCK_S
    while True:
        try:
            lock = FileLock.try_take(path)
        except OSError:
            return None
        if lock is not None or time.monotonic() >= deadline:
            return lock
        time.sleep(0.02)


def _start_helper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, "deliver"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def deliver(settings: Settings) -> None:
    """Deliver and certify what is orphaned: what the helper does."""
    from pipespan.wiring.ship import deliver_with  # noqa: PLC0415 - loads the database driver
    from pipespan.wiring.stores import open_source  # noqa: PLC0415 - as above

    def source() -> Source:
        return open_source(settings)

    deliver_with(settings, DELIVERY_S, found_by=_SEEN_BY, has_watcher=lambda: False, open_source=source)


def main(argv: Sequence[str]) -> None:
    """Watch, or with `deliver` be the helper."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = load_settings(cwd=Path("/"))
    if list(argv) == ["deliver"]:
        deliver(settings)
    else:
        watch(settings)


if __name__ == "__main__":
    main(sys.argv[1:])
