"""How a process of the registry really stands: what was written down, held against what exists."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import psutil

from pipespan.model.health import Finding
from pipespan.query.liveness import Host, process_finding, this_host
from pipespan.record.identity import ProcessIdentity, process_identity
from pipespan.supervise.processes import OPEN_STATES, ProcessEntry

START_LIMIT_S: Final = 60.0
"""A supervisor that has not reported for so long after it was asked for never will."""

Find = Callable[[ProcessIdentity], Finding]
"""Tells what is known of a process."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The truth about a process.

    Attributes:
        word: the recorded state where that is true, else "orphaned" (the supervisor is gone, the command runs),
            "dead" (both are gone, and nobody wrote down how), or "unknown" (of another host, or not to be seen).
        reason: in words, empty when there is nothing to say.
        has_supervisor: whether its supervisor exists.
        has_child: whether the command's own process exists.
    """

    word: str
    reason: str
    has_supervisor: bool
    has_child: bool


def standing_of(entry: ProcessEntry, find: Find, now_unix_ns: int) -> Standing:
    """Return how `entry` stands; a pid alone proves nothing."""
    recorded = entry.reason or ""
    child = "gone" if entry.child is None else find(entry.child)
    if entry.state not in OPEN_STATES:
        # It may be on its way out still: the database has its last rows first.
        is_leaving = entry.supervisor is not None and find(entry.supervisor) == "running"
        return Standing(entry.state, recorded, has_supervisor=is_leaving, has_child=child == "running")
    if entry.supervisor is None:
        if now_unix_ns - entry.created_at_unix_ns < START_LIMIT_S * 1e9:
            return Standing("starting", recorded, has_supervisor=False, has_child=False)
        return Standing("dead", "its supervisor never began", has_supervisor=False, has_child=False)
    supervisor = find(entry.supervisor)
    if supervisor == "running":
        return Standing(entry.state, recorded, has_supervisor=True, has_child=child == "running")
    if supervisor == "unknown":
        where = f"its supervisor, process {entry.supervisor.pid} on {entry.supervisor.host}, cannot be seen from here"
        return Standing("unknown", where, has_supervisor=False, has_child=False)
    why = _gone(entry.supervisor, supervisor)
    if child == "running":
        return Standing("orphaned", f"{why}; the command still runs", has_supervisor=False, has_child=True)
    return Standing("dead", why, has_supervisor=False, has_child=False)


def _gone(supervisor: ProcessIdentity, finding: Finding) -> str:
    if finding == "rebooted":
        return "the host was restarted"
    if finding == "replaced":
        return f"its supervisor is gone without a word, and pid {supervisor.pid} is another process now"
    return f"its supervisor, process {supervisor.pid}, is gone without a word"


def finder(here: Host | None = None) -> Find:
    """Return what looks for processes on this host."""
    host = this_host() if here is None else here

    def find(identity: ProcessIdentity) -> Finding:
        if identity.host != host.name or identity.boot_id is None or host.boot_id is None:
            return "unknown"
        if identity.boot_id != host.boot_id:
            # A boot id that is made of a time can prove sameness only.
            return "unknown" if identity.boot_id.startswith("boot-") else "rebooted"
        if identity.pid_namespace != host.pid_namespace:
            return "unknown"
        started_ns = identity.started_at_unix_ns
        return process_finding(identity.pid, None if started_ns is None else started_ns / 1e9)

    return find


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process of this host, None when it has ended."""
    try:
        started_at = int(psutil.Process(pid).create_time() * 1e9)
    except (psutil.Error, OSError):
        return None
    return replace(process_identity(), pid=pid, started_at_unix_ns=started_at)


def now_unix_ns() -> int:
    """Return the time."""
    return time.time_ns()
