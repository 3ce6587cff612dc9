"""Runs side by side, by turns in slices: what changes a machine's speed meanwhile hits all of them alike.

Of whole runs, one after the other, two dozen pairs cannot tell 1.02 from 1.04 on a machine that others use too; of runs
in slices a few can. All processes of the others are stopped while those of one run go on, its watcher among them.
"""

from __future__ import annotations

import os
import random
import resource
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SLICE_S: Final = 0.2
"""Two runs of the same differ by 1.2 % in slices of 0.4 s and by 0.6 % in those of 0.1 s; a run that goes on finds its
caches cold, which shorter ones would make much of."""

_MARK: Final = "PIPESPAN_BENCH_SLICE"

Start = Callable[[Mapping[str, str]], "subprocess.Popen[bytes]"]
"""Starts a run, with these variables in its environment, and in that of all its processes."""


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took; CPU time is that of the process and its workers."""

    wall_s: float
    cpu_s: float


class SliceError(Exception):
    """A run failed."""


def by_turns(starts: Sequence[Start]) -> list[Took]:
    """Run all of `starts` to their end, in slices and in an order by chance; return what each took while it ran.

    Raises:
        SliceError: one of them failed.
    """
    runs = [_Run(start) for start in starts]
    order = random.sample(runs, len(runs))
    try:
        while any(run.usage is None for run in runs):
            for run in order:
                if run.usage is None:
                    run.go_on()
        return [run.took() for run in runs]
    finally:
        for run in runs:
            run.let_go()


class _Run:
    """One run; between two slices all its processes are stopped."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: set[int] = set()
        self._active_s = 0.0
        self.usage: resource.struct_rusage | None = None

    def go_on(self) -> None:
        """Let it run for a slice."""
        began_s = time.perf_counter()
        if self._process is None:
            self._process = self._start({_MARK: self._mark})
        self.let_go()
        has_ended = _ends(self._process.pid, SLICE_S * random.uniform(0.8, 1.2))
        found = set() if has_ended else self._processes()
        self._active_s += time.perf_counter() - began_s
        if has_ended:
            _, status, self.usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            if status:
                raise SliceError(f"{self._process.args!r} ended with {self._process.returncode}")
            return
        self._stop(found)
        self._stop(self._processes() - found)  # those that were started meanwhile

    def let_go(self) -> None:
        """Let all its processes run, as after a run's end what it leaves behind."""
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped = set()

    def took(self) -> Took:
        """Return what it took, once it has ended."""
        if self.usage is None:
            raise SliceError("a run has not ended")
        return Took(self._active_s, self.usage.ru_utime + self.usage.ru_stime)

    def _stop(self, pids: set[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.add(pid)

    def _processes(self) -> set[int]:
        mark = f"{_MARK}={self._mark}".encode()
        return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)}


def _environment(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:  # it has ended, or belongs to somebody else
        return b""


def _ends(pid: int, timeout_s: float) -> bool:
    """Wait until the process ends, for `timeout_s` at most; return whether it has."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)
