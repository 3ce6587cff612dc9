"""What this process uses: one cheap reading for starts and ends of nodes, one full sample for tables and gauges."""

from __future__ import annotations

import os
import time
from typing import Final

import psutil

from pipespan.model.resources import ResourceSample
from pipespan.record.procfiles import Usage, open_proc_files

MB: Final = 1_000_000
_FRESH_NS: Final = 5_000_000
"""A step that is shorter than this has no memory of its own to speak of, and there may be very many."""

_NOT_OURS: Final = (OSError, ValueError, IndexError)
"""A program that closes what it does not know, as daemons do, has closed our files, and may have given their numbers to
files of its own; these are not ours to close."""


class ResourceReader:
    """Reads this very process; make a new one after a fork."""

    def __init__(self) -> None:
        self._files = open_proc_files()
        self._process = psutil.Process()
        self._memory_bytes = 0
        self._memory_at_ns = 0
        self._cpus = _cpus_available()
        self._last_cpu_s = time.process_time()
        self._last_at_s = time.monotonic()

    def close(self) -> None:
        """Give back what is held open."""
        files, self._files = self._files, None
        if files is not None:
            files.close()

    def memory_bytes(self, now_unix_ns: int) -> int:
        """Return the resident memory; a reading of the last few milliseconds serves again."""
        if not 0 <= now_unix_ns - self._memory_at_ns < _FRESH_NS:
            self._memory_at_ns = now_unix_ns
            self._memory_bytes = self._read_memory()
        return self._memory_bytes

    def _read_memory(self) -> int:
        if self._files is not None:
            try:
                return self._files.rss_bytes()
            except _NOT_OURS:
                self._files = None
        return self._process.memory_info().rss

    def _usage(self) -> Usage:
        if self._files is not None:
            try:
                return self._files.usage()
            except _NOT_OURS:
                self._files = None
        return usage_by_psutil(self._process)

    def sample(self) -> ResourceSample:
        """Return a full sample; utilisation counts from the sample before.

        Raises:
            psutil.Error: the system does not answer.
        """
        used = self._usage()
        now_s, cpu_s = time.monotonic(), used.user_s + used.system_s
        elapsed_s = max(now_s - self._last_at_s, 1e-6)
        cores = max(cpu_s - self._last_cpu_s, 0.0) / elapsed_s
        self._last_at_s, self._last_cpu_s = now_s, cpu_s
        return ResourceSample(
            timestamp=time.time_ns(),
            memory_rss_bytes=used.rss_bytes,
            memory_vms_bytes=used.vms_bytes,
            cpu_time_user_s=used.user_s,
            cpu_time_system_s=used.system_s,
            cpu_utilization=min(cores / self._cpus, 1.0),
            cpu_percent=cores * 100.0,
            thread_count=used.threads,
            open_fds=used.open_fds,
            read_bytes=used.read_bytes,
            write_bytes=used.write_bytes,
        )


def usage_by_psutil(process: psutil.Process) -> Usage:
    """Return what `process` uses, on any platform.

    Raises:
        psutil.Error: the system does not answer.
    """
    with process.oneshot():
        memory, cpu = process.memory_info(), process.cpu_times()
        try:
            disk = process.io_counters()
        except (AttributeError, psutil.Error, OSError):  # macOS has none; containers may forbid it
            disk = None
        return Usage(
            rss_bytes=memory.rss,
            vms_bytes=memory.vms,
            user_s=cpu.user,
            system_s=cpu.system,
            threads=process.num_threads(),
            open_fds=process.num_fds() if hasattr(process, "num_fds") else None,
            read_bytes=None if disk is None else disk.read_bytes,
            write_bytes=None if disk is None else disk.write_bytes,
        )


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


def _cpus_available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
