"""Evidence about the processes of this host: does the very process that a job names still exist?"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipespan.model.health import Finding
from pipespan.model.records import JobRecord
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.spool.owner import TIME_OF_BOOT, boot_id, pid_exists, pid_namespace

START_TOLERANCE_S: Final = 1.5
"""Start times of one process may differ so much: they are computed from ticks and a boot time in whole seconds."""

PID_NAMESPACE_KEY: Final = "pid_namespace"
"""Key of a job's `evidence` with the namespace that its pid belongs to, where there are such."""


@dataclass(frozen=True, slots=True)
class Host:
    """What tells this host, as it runs since its last start, from others.

    Attributes:
        name: host name.
        boot_id: changes with each start of the system; None where the system has none.
        pid_namespace: in which pids of this process are counted; None where there are no namespaces.
    """

    name: str
    boot_id: str | None
    pid_namespace: str | None


def this_host() -> Host:
    """Return the identity of the host that this process runs on."""
    return Host(socket.gethostname(), boot_id(), pid_namespace())


def gather_evidence(jobs: Iterable[JobRecord], host: Host | None = None) -> Mapping[str, Finding]:
    """Return what can be found out about the unended `jobs` of this host, by job id; never raises.

    Jobs of other hosts, and those that ended, are left out.
    """
    here = this_host() if host is None else host
    open_jobs = [job for job in jobs if job.ended_at is None and job.status not in TERMINAL_STATUSES]
    return {job.id: _finding(job, here) for job in open_jobs if job.host == here.name}


def job_finding(job: JobRecord, here: Host) -> Finding:
    """Return what can be found out about the process of `job` from the host `here`."""
    return _finding(job, here) if job.host == here.name else "unknown"


def _finding(job: JobRecord, here: Host) -> Finding:
    if job.boot_id is None or here.boot_id is None:
        return "unknown"  # one of them does not know its boot, so a pid proves nothing
    if job.boot_id != here.boot_id:
        # A boot id made of the boot's time shifts with the clock, so it can prove sameness only.
        is_exact = not (job.boot_id.startswith(TIME_OF_BOOT) or here.boot_id.startswith(TIME_OF_BOOT))
        return "rebooted" if is_exact else "unknown"
    namespace = job.evidence.get(PID_NAMESPACE_KEY)
    if namespace is not None and namespace != here.pid_namespace:
        return "unknown"
    started_s = None if job.process_started_at is None else job.process_started_at.timestamp()
    return process_finding(job.pid, started_s)


def process_finding(pid: int, started_s: float | None) -> Finding:
    """Return whether the process of this pid and start time (seconds since 1970) exists on this host."""
    if pid <= 0:
        return "unknown"
    import psutil  # noqa: PLC0415 - loaded only when there is a process to look at

    if not pid_exists(pid):
        return "gone"
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return "gone"
        if started_s is None:
            return "unknown"
        is_same = abs(process.create_time() - started_s) <= START_TOLERANCE_S
    except (psutil.Error, OSError):
        return "unknown"  # hidden from us, or gone this instant: the next look tells
    return "running" if is_same else "replaced"
