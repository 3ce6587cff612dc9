"""Who made a stream, and whether that process still exists.

What is found rests on the kernel's own words: the boot id, the pid namespace, and the ticks at which a process
started, which no step of a clock moves. Where one of them is unknown, nothing is concluded.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Fate = Literal["lives", "gone", "rebooted", "unknown"]
"""What became of a process: `unknown` means that it cannot be told from here, which proves nothing."""

TIME_OF_BOOT: Final = "boot-"
"""Start of the boot ids that are made where the system has none."""

_GONE_STATES: Final = frozenset("ZXx")
"""States of `/proc/<pid>/stat` of processes that have ended and wait to be looked at by their parent."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One process of one boot of one host.

    Attributes:
        host: host name.
        pid: its number.
        boot_id: changes with each start of the system.
        pid_namespace: within which the pid means something; None where there are no namespaces.
        start_ticks: when it started, in ticks since the boot; None where the kernel does not tell.
    """

    host: str
    pid: int
    boot_id: str | None = None
    pid_namespace: str | None = None
    start_ticks: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What `/proc/<pid>/stat` says.

    Attributes:
        state: one letter.
        start_ticks: when it started.
        wait_status: how it ended, as `wait` tells it; of a process that has ended and is not reaped.
    """

    state: str
    start_ticks: int
    wait_status: int

    @property
    def has_ended(self) -> bool:
        """Whether it is only waiting to be reaped."""
        return self.state in _GONE_STATES


def this_process() -> Owner:
    """Return who this process is; never raises."""
    stat = read_stat(os.getpid())
    ticks = None if stat is None else stat.start_ticks
    return Owner(socket.gethostname(), os.getpid(), boot_id(), pid_namespace(), ticks)


def fate_of(owner: Owner, here: Owner) -> Fate:
    """Return what became of `owner`, as far as it can be told from `here`, which is this process."""
    if owner.host != here.host or owner.boot_id is None or here.boot_id is None or owner.pid <= 0:
        return "unknown"
    if owner.boot_id != here.boot_id:
        # A boot id made of the boot's time shifts with the clock, so it can prove sameness only.
        is_exact = not (owner.boot_id.startswith(TIME_OF_BOOT) or here.boot_id.startswith(TIME_OF_BOOT))
        return "rebooted" if is_exact else "unknown"
    if owner.pid_namespace != here.pid_namespace:
        return "unknown"
    if not pid_exists(owner.pid):
        return "gone"
    stat = read_stat(owner.pid)
    if stat is None or owner.start_ticks is None:
        return "unknown"  # hidden from us, or gone this instant: the next look tells
    return "gone" if stat.has_ended or stat.start_ticks != owner.start_ticks else "lives"


def read_stat(pid: int) -> ProcessStat | None:
    """Return what the kernel tells of a process; None when there is none, or it may not be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name stands in parentheses and may hold anything; fields are counted behind it (proc(5)).
        words = text.rpartition(")")[2].split()
        return ProcessStat(words[0], int(words[19]), int(words[49]))
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str | None:
    """Return what changes at each boot of this host, where the system tells it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        pass
    import psutil  # noqa: PLC0415 - slow, and needed where there is no /proc only

    try:
        return f"{TIME_OF_BOOT}{int(psutil.boot_time())}"
    except (psutil.Error, OSError, RuntimeError):
        return None


def pid_namespace() -> str | None:
    """Return the namespace that pids are counted in: containers of one host may share its name and boot id."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def pid_exists(pid: int) -> bool:
    """Tell whether there is such a process; asks the kernel, which knows of those that a hardened /proc hides."""
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415 - as above

        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True
