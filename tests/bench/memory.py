"""Resident memory of this process (Linux)."""

from __future__ import annotations

from pathlib import Path

KB_PER_MB = 1024


def resident_mb() -> float:
    """Return how much is resident now."""
    return _status("VmRSS")


def most_resident_mb() -> float:
    """Return how much was resident at most; unlike `getrusage` it knows nothing of the program before an exec."""
    return _status("VmHWM")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / KB_PER_MB
    raise LookupError(f"the kernel does not tell {name!r}")
