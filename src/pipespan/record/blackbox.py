"""What a process leaves for the day on which nobody is there to see it die.

Beside its rows, in the stream's folder: the stack at a crash of the interpreter, the stack at a signal that ends the
process, and the last look at its memory. The first two are written by C code of `faulthandler`, at the moment of death.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipespan.record.descriptors import open_high
from pipespan.record.oomcount import CgroupFiles, own_cgroup
from pipespan.spool.private import FILE_MODE

if TYPE_CHECKING:
    from pipespan.model.resources import ResourceSample
    from pipespan.spool.notices import Notices

FAULT: Final = "fault"
"""File of the stack at a crash of the interpreter."""

VITALS: Final = "vitals"
"""File of the last look at the process: one JSON object, padded with spaces."""

SIGNAL_PREFIX: Final = "signal-"
"""Start of the names of the files of stacks at deadly signals."""

DEADLY_SIGNALS: Final = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGALRM")
"""Signals that end a process which has not said otherwise, and that a person or a system is likely to send."""

_VITALS_BYTES: Final = 1024


class BlackBox:
    """Arms this process; made once, follows the stream to a new folder, and lets go in a forked child.

    Args:
        folder: gives the stream's folder, None while there is none.
        notices: where troubles are told.
    """

    def __init__(self, folder: Callable[[], Path | None], notices: Notices) -> None:
        self._folder = folder
        self._notices = notices
        self._armed: Path | None = None
        self._fds: dict[str, int] = {}
        self._cgroup = _own_cgroup()
        # Once only: later, in another thread, a handler that the program sets this instant could be missed.
        self._has_armed = False

    def arm(self) -> None:
        """Have deaths leave their evidence in the stream's folder; never raises. Does nothing when it is so already."""
        try:
            folder = self._folder()
            if folder is None or folder == self._armed:
                return
            self._armed = folder
            self._arm_faults(folder)
            self._arm_signals(folder)
            self._has_armed = True
            self._point(VITALS, folder)
            self.note(None)
        except Exception as trouble:  # noqa: BLE001 - evidence is worth less than the user's work
            self._notices.trouble("blackbox", f"no evidence of a sudden death can be kept: {trouble!r}")

    def note(self, sample: ResourceSample | None) -> None:
        """Keep a look at the process; never raises."""
        if self._armed is None or VITALS not in self._fds:
            return
        try:
            text = json.dumps(self._vitals(sample)).encode()
            # One write in place, so that no look is ever half a look.
            os.pwrite(self._fds[VITALS], text.ljust(_VITALS_BYTES), 0)
        except (OSError, AttributeError):  # the folder is gone, the disk is full, or not a Unix
            pass

    def _vitals(self, sample: ResourceSample | None) -> dict[str, object]:
        found: dict[str, object] = {"at_unix_ns": time.time_ns()}
        if sample is not None:
            found["memory_rss_bytes"] = sample.memory_rss_bytes
            found["cpu_percent"] = round(sample.cpu_percent, 1)
            found["threads"] = sample.thread_count
        memory = None if self._cgroup is None else self._cgroup.read()
        if memory is not None:
            found["cgroup"] = memory.path
            found["cgroup_oom_kills"] = memory.oom_kills
            found["cgroup_limit_bytes"] = memory.limit_bytes
            found["cgroup_used_bytes"] = memory.used_bytes
        return found

    def after_fork_in_child(self) -> None:
        """Turn what was inherited away from the parent's files: the child's death is not the parent's."""
        self._armed = None
        self._away(os.devnull)

    def close(self) -> None:
        """End the watch over an orderly end.

        Handlers stay where they are and write to nowhere: to take one away could take away another's, which a
        library has set since, past Python's knowledge.
        """
        self._armed = None
        if (vitals := self._fds.pop(VITALS, None)) is not None:
            os.close(vitals)
        self._away(os.devnull)

    def _away(self, path: str) -> None:
        try:
            nowhere = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            for fd in self._fds.values():
                os.dup2(nowhere, fd, inheritable=False)
            os.close(nowhere)
        except OSError:
            pass

    def _arm_faults(self, folder: Path) -> None:
        if FAULT in self._fds:
            self._point(FAULT, folder)
        elif not faulthandler.is_enabled():
            faulthandler.enable(self._point(FAULT, folder))

    def _arm_signals(self, folder: Path) -> None:
        if not hasattr(faulthandler, "register"):
            return
        for name in DEADLY_SIGNALS:
            number = getattr(signal, name, None)
            if number is None:
                continue
            file_name = SIGNAL_PREFIX + name
            if file_name in self._fds:
                self._point(file_name, folder)
            elif not self._has_armed and signal.getsignal(number) is signal.SIG_DFL:
                # The handler writes, puts back what was there before, and sends the signal anew.
                faulthandler.register(number, self._point(file_name, folder), all_threads=True, chain=True)

    def _point(self, name: str, folder: Path) -> int:
        """Have the descriptor of evidence `name` write to its file in `folder`; return it."""
        flags = os.O_WRONLY | os.O_CREAT | (0 if name == VITALS else os.O_APPEND)
        opened = open_high(folder / name, flags, FILE_MODE)
        if name not in self._fds:
            self._fds[name] = opened
            return opened
        try:
            os.dup2(opened, self._fds[name], inheritable=False)
        finally:
            os.close(opened)
        return self._fds[name]


def _own_cgroup() -> CgroupFiles | None:
    folder = own_cgroup()
    try:
        return None if folder is None else CgroupFiles(folder)
    except OSError:  # it has just gone
        return None
