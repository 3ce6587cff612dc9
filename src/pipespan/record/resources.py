"""What this process uses: one cheap reading for starts and ends of nodes, one full sample for tables and gauges."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import psutil

from pipespan.model.resources import ResourceSample

MB: Final = 1_000_000
_STATM: Final = "/proc/self/statm"
_FRESH_NS: Final = 5_000_000
"""A step that is shorter than this has no memory of its own to speak of, and there may be very many."""


class ResourceReader:
    """Reads this very process; make a new one after a fork."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._page_bytes = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
        self._statm_fd = _open_statm()
        self._memory_bytes = 0
        self._memory_at_ns = 0
        self._cpus = _cpus_available()
        self._last_cpu_s = time.process_time()
        self._last_at_s = time.monotonic()

    def close(self) -> None:
        """Give back the descriptor that is held."""
        fd, self._statm_fd = self._statm_fd, None
        if fd is not None:
            os.close(fd)

    def memory_bytes(self, now_unix_ns: int) -> int:
        """Return the resident memory; a reading of the last few milliseconds serves again."""
        if not 0 <= now_unix_ns - self._memory_at_ns < _FRESH_NS:
            self._memory_at_ns = now_unix_ns
            self._memory_bytes = self._read_memory()
        return self._memory_bytes

    def _read_memory(self) -> int:
        if self._statm_fd is not None:
            return int(os.pread(self._statm_fd, 128, 0).split(None, 2)[1]) * self._page_bytes
        return self._process.memory_info().rss

    def sample(self) -> ResourceSample:
        """Return a full sample; utilisation counts from the sample before.

        Raises:
            psutil.Error: the system does not answer.
        """
        with self._process.oneshot():
            memory = self._process.memory_info()
            cpu = self._process.cpu_times()
            threads = self._process.num_threads()
            open_fds = self._process.num_fds() if hasattr(self._process, "num_fds") else None
        read_bytes, write_bytes = self._disk()
        now_s, cpu_s = time.monotonic(), cpu.user + cpu.system
        elapsed_s = max(now_s - self._last_at_s, 1e-6)
        cores = max(cpu_s - self._last_cpu_s, 0.0) / elapsed_s
        self._last_at_s, self._last_cpu_s = now_s, cpu_s
        return ResourceSample(
            timestamp=time.time_ns(),
            memory_rss_bytes=memory.rss,
            memory_vms_bytes=memory.vms,
            cpu_time_user_s=cpu.user,
            cpu_time_system_s=cpu.system,
            cpu_utilization=min(cores / self._cpus, 1.0),
            cpu_percent=cores * 100.0,
            thread_count=threads,
            open_fds=open_fds,
            read_bytes=read_bytes,
            write_bytes=write_bytes,
        )

    def _disk(self) -> tuple[int | None, int | None]:
        try:
            counters = self._process.io_counters()
        except (AttributeError, psutil.Error, OSError):  # macOS has none; containers may forbid it
            return None, None
        return counters.read_bytes, counters.write_bytes


def resources_json(
    start_bytes: int, peak_bytes: int, end_bytes: int, cpu_start_ns: int, cpu_end_ns: int
) -> str:
    """Return what a node's metadata tell of its resources: a JSON object with `resources` in it.

    Args:
        start_bytes: resident memory of the process when the node started.
        peak_bytes: the most that was seen meanwhile.
        end_bytes: when it ended.
        cpu_start_ns: CPU time of the process, all its threads, when the node started.
        cpu_end_ns: when it ended.
    """
    start = peak = end = str(end_bytes)
    if not start_bytes == peak_bytes == end_bytes:  # as of most short steps
        start, peak = str(start_bytes), str(max(peak_bytes, end_bytes))
    return (
        f'{{"resources":{{"memory_start_bytes":{start},"memory_end_bytes":{end},"memory_peak_bytes":{peak},'
        f'"cpu_start_ns":{cpu_start_ns},"cpu_end_ns":{cpu_end_ns},"cpu_ns":{cpu_end_ns - cpu_start_ns}}}}}'
    )


def _open_statm() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _cpus_available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
