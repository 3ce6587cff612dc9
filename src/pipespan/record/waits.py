"""What the kernel says that threads wait for, and how child processes stand; read from /proc, which needs no rights.

All of it is optional: what cannot be read is left out.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psutil

from pipespan.model.attributes import cut_text

MAX_CHILDREN: Final = 50
"""So many child processes are told of."""

_MAX_COMMAND_CHARS: Final = 300
_MAX_SOCKETS: Final = 20_000
_TASKS: Final = Path("/proc/self/task")

# Of the calls in which a thread usually waits: number by machine, and whether the first argument is a descriptor.
_CALLS: Final[dict[str, dict[int, tuple[str, bool]]]] = {
    "x86_64": {
        0: ("read", True), 1: ("write", True), 7: ("poll", False), 16: ("ioctl", True), 17: ("pread64", True),
        23: ("select", False), 34: ("pause", False), 35: ("nanosleep", False), 42: ("connect", True),
        43: ("accept", True), 44: ("sendto", True), 45: ("recvfrom", True), 46: ("sendmsg", True),
        47: ("recvmsg", True), 61: ("wait4", False), 72: ("fcntl", True), 73: ("flock", True),
        74: ("fsync", True), 202: ("futex", False), 230: ("clock_nanosleep", False), 232: ("epoll_wait", True),
        247: ("waitid", False), 257: ("openat", False), 262: ("newfstatat", False), 270: ("pselect6", False),
        271: ("ppoll", False), 281: ("epoll_pwait", True), 288: ("accept4", True),
    },
    "aarch64": {
        22: ("epoll_pwait", True), 25: ("fcntl", True), 29: ("ioctl", True), 32: ("flock", True),
        56: ("openat", False), 63: ("read", True), 64: ("write", True), 67: ("pread64", True),
        72: ("pselect6", False), 73: ("ppoll", False), 82: ("fsync", True), 95: ("waitid", False),
        98: ("futex", False), 101: ("nanosleep", False), 115: ("clock_nanosleep", False), 202: ("accept", True),
        203: ("connect", True), 206: ("sendto", True), 207: ("recvfrom", True), 211: ("sendmsg", True),
        212: ("recvmsg", True), 242: ("accept4", True), 260: ("wait4", False),
    },
}  # fmt: skip


def thread_wait(native_id: int | None) -> dict[str, Any]:
    """Return state, system call, descriptor and CPU time of a thread of this process, as far as they can be read."""
    if native_id is None:
        return {}
    place = _TASKS / str(native_id)
    found: dict[str, Any] = {}
    stat = _read(place / "stat").rpartition(")")[2].split()
    if len(stat) > 12:
        found["state"] = stat[0]
        ticks = os.sysconf("SC_CLK_TCK")
        found["cpu_s"] = round((int(stat[11]) + int(stat[12])) / ticks, 2)
    wchan = _read(place / "wchan").strip()
    if wchan and wchan != "0":
        found["kernel_function"] = wchan
    found.update(_system_call(_read(place / "syscall").split()))
    return found


def _system_call(words: list[str]) -> dict[str, Any]:
    if not words or not words[0].isdecimal():
        return {}
    number = int(words[0])
    name, is_on_descriptor = _CALLS.get(platform.machine(), {}).get(number, (f"number {number}", False))
    found: dict[str, Any] = {"system_call": name}
    if is_on_descriptor and len(words) > 1:
        descriptor = int(words[1], 16)
        found["descriptor"] = descriptor
        target = _target(descriptor)
        if target:
            found["on"] = target
    return found


def _target(descriptor: int) -> str:
    try:
        target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""
    peer = _peer(target[len("socket:[") : -1]) if target.startswith("socket:[") else ""
    return f"{target} to {peer}" if peer else target


def _peer(inode: str) -> str:
    """Return whom a TCP socket is connected to: asked of the kernel's table, as the socket is the program's."""
    for table, words in (("tcp", 1), ("tcp6", 4)):
        try:
            with open(f"/proc/self/net/{table}", encoding="ascii") as file:  # noqa: PTH123 - read line by line
                for line in islice(file, 1, _MAX_SOCKETS):
                    columns = line.split()
                    if columns[9] == inode:
                        return _address(columns[2], words)
        except (OSError, IndexError, ValueError):
            continue
    return ""


def _address(text: str, words: int) -> str:
    # The kernel prints each word of 32 bits in the machine's own order.
    address, _, port = text.partition(":")
    raw = b"".join(int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, 8 * words, 8))
    host = socket.inet_ntop(socket.AF_INET if words == 1 else socket.AF_INET6, raw)
    return f"{host} port {int(port, 16)}"


def children() -> list[dict[str, Any]]:
    """Return the processes below this one: pid, command line, state, CPU time and what the kernel says they wait in."""
    try:
        below = psutil.Process().children(recursive=True)
    except (psutil.Error, OSError):
        return []
    found = [_child(process) for process in below[:MAX_CHILDREN]]
    if len(below) > MAX_CHILDREN:
        found.append({"pid": None, "command": f"... {len(below) - MAX_CHILDREN} more left out ..."})
    return found


def _child(process: psutil.Process) -> dict[str, Any]:
    entry: dict[str, Any] = {"pid": process.pid}
    try:
        with process.oneshot():
            entry["parent_pid"] = process.ppid()
            entry["command"] = cut_text(" ".join(process.cmdline()), _MAX_COMMAND_CHARS) or process.name()
            entry["state"] = process.status()
            times = process.cpu_times()
            entry["cpu_s"] = round(times.user + times.system, 2)
            entry["memory_mb"] = round(process.memory_info().rss / 1e6, 1)
    except (psutil.Error, OSError):
        entry["state"] = entry.get("state", "gone")
    wchan = _read(Path(f"/proc/{process.pid}/wchan")).strip()
    if wchan and wchan != "0":
        entry["kernel_function"] = wchan
    return entry


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
