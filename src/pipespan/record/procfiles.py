"""This very process as Linux tells it, from files that stay open.

Each call of the system gives the interpreter away, and a program that computes gives it back after 5 ms at the soonest,
stopping for a moment each time. psutil opens, asks about, reads and closes a file for each figure: some 35 calls for a
sample, where four do.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pipespan.record.descriptors import open_high

_STAT: Final = "/proc/self/stat"
_STATM: Final = "/proc/self/statm"
_IO: Final = "/proc/self/io"
_FDS: Final = "/proc/self/fd"
_MOST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Usage:
    """What the process uses, or has used since its start.

    Attributes:
        rss_bytes: resident memory.
        vms_bytes: address space.
        user_s: CPU time in its own code, all threads.
        system_s: CPU time in the kernel.
        threads: how many there are.
        open_fds: how many files are open.
        read_bytes: what was read from disks; None where that may not be known.
        write_bytes: what was written to disks; None where that may not be known.
    """

    rss_bytes: int
    vms_bytes: int
    user_s: float
    system_s: float
    threads: int
    open_fds: int | None
    read_bytes: int | None
    write_bytes: int | None


class ProcFiles:
    """Holds the files open; they belong to the process that opened them, so a child needs its own.

    Raises:
        OSError: there is no /proc to be read.
    """

    def __init__(self) -> None:
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._fds: list[int] = []
        try:
            self._statm, self._stat = (self._opened(path) for path in (_STATM, _STAT))
        except OSError:
            self.close()
            raise
        self._io: int | None = None
        with suppress(OSError):  # containers may forbid it
            self._io = self._opened(_IO)

    def _opened(self, path: str) -> int:
        fd = open_high(path)
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        """Give back what is held open."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        return int(os.pread(self._statm, 128, 0).split(None, 2)[1]) * self._page_bytes

    def usage(self) -> Usage:
        """Return all of it (proc(5), `/proc/pid/stat`).

        Raises:
            OSError: the system does not answer.
        """
        # Behind the name, which may have anything in it; the first of these is field 3.
        fields = os.pread(self._stat, _MOST_BYTES, 0).rpartition(b")")[2].split()
        read_bytes, write_bytes = self._disk()
        return Usage(
            rss_bytes=int(fields[21]) * self._page_bytes,
            vms_bytes=int(fields[20]),
            user_s=int(fields[11]) / self._ticks_per_s,
            system_s=int(fields[12]) / self._ticks_per_s,
            threads=int(fields[17]),
            open_fds=_open_fds(),
            read_bytes=read_bytes,
            write_bytes=write_bytes,
        )

    def _disk(self) -> tuple[int | None, int | None]:
        if self._io is None:
            return None, None
        try:
            told = dict(line.split(b": ", 1) for line in os.pread(self._io, _MOST_BYTES, 0).splitlines())
            return int(told[b"read_bytes"]), int(told[b"write_bytes"])
        except (OSError, ValueError, KeyError):
            return None, None


def open_proc_files() -> ProcFiles | None:
    """Return the files of this process; None where there are none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ProcFiles()
    except OSError:
        return None


def _open_fds() -> int | None:
    try:
        # The folder's size, since Linux 6.2; nothing before.
        return os.stat(_FDS).st_size or len(os.listdir(_FDS)) - 1  # noqa: PTH116 - no object for each sample
    except OSError:
        return None
