"""What a process uses, at an instant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """One reading of the process's resources; None where the platform does not tell.

    Attributes:
        timestamp: when it was read, ns since 1970 UTC.
        memory_rss_bytes: resident memory.
        memory_vms_bytes: virtual memory.
        cpu_time_user_s: CPU time in user mode since the process started.
        cpu_time_system_s: CPU time in the kernel since the process started.
        cpu_utilization: 0 to 1 of all the CPUs that are available to the process, since the last sample.
        cpu_percent: the same where 100 is one core.
        thread_count: threads of the process.
        open_fds: open file descriptors.
        read_bytes: read from disk since the process started.
        write_bytes: written to disk since the process started.
    """

    timestamp: int
    memory_rss_bytes: int
    memory_vms_bytes: int
    cpu_time_user_s: float
    cpu_time_system_s: float
    cpu_utilization: float
    cpu_percent: float
    thread_count: int
    open_fds: int | None
    read_bytes: int | None
    write_bytes: int | None
