"""Sees to it that a watcher runs: a small process that finds the dead among the processes of this user and folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pipespan.config import PREFIX, Settings, process_environment
from pipespan.spool.lock import FileLock
from pipespan.spool.private import make_folder
from pipespan.wiring.forkgate import ForkGate
from pipespan.wiring.target import digest, target_of

MODULE: Final = "pipespan.wiring.watcher"
CHECK_EVERY_S: Final = 30.0
"""A watcher that was killed is missed after this."""

_START_S: Final = 5.0
_SHELL: Final = "/bin/sh"
# The shell ends at once: the watcher is nobody's child, so no `wait` of the program can meet it.
_DETACH: Final = f'"$0" -m {MODULE} </dev/null >/dev/null 2>&1 &'


def lock_path(settings: Settings) -> Path:
    """Return the file that the watcher of these settings holds locked: one for each database."""
    return settings.state_dir / f"watcher-{digest(target_of(settings))}.lock"


def has_place(settings: Settings) -> bool:
    """Tell whether a watcher is wanted, and the platform has what it takes."""
    is_wanted = settings.watcher and settings.store == "postgres"
    return is_wanted and os.name == "posix" and bool(sys.executable) and not hasattr(sys, "frozen")


def is_watched(settings: Settings) -> bool:
    """Tell whether a watcher runs; never raises."""
    path = lock_path(settings)
    try:
        if not path.exists():
            return False
        lock = FileLock.try_take(path)
    except OSError:
        return False
    if lock is not None:
        lock.release()
    return lock is None


class WatcherKeeper:
    """Starts the watcher when there is none; asked again and again, looks now and then.

    Args:
        settings: of this process.
        clock: monotonic seconds.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._next_s = 0.0
        self._gate = ForkGate()

    def ensure(self) -> None:
        """Start a watcher if none runs, the platform has what it takes, and it is wanted; never raises."""
        settings, now_s = self._settings, self._clock()
        if now_s < self._next_s or not has_place(settings):
            return
        # A child forked while a process is started holds the pipe on which the start is waited for, until it ends.
        with self._gate:
            if now_s >= self._next_s:  # else another thread was faster
                self._next_s = now_s + CHECK_EVERY_S
                if not is_watched(settings):
                    start_watcher(settings)


def start_watcher(settings: Settings) -> None:
    """Start a watcher and return at once; never raises: a program loses nothing when it cannot be started."""
    try:
        make_folder(settings.state_dir)  # where its lock stands: it may be there before anything is recorded
        subprocess.Popen(
            [_SHELL, "-c", _DETACH, sys.executable],
            env=environment(settings),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).wait(_START_S)
    except (OSError, subprocess.SubprocessError):
        pass


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a watcher: settings by name, since it looks into no configuration file of ours."""
    environ = {
        name: value for name, value in process_environment().items() if not name.startswith((PREFIX, "OTEL_"))
    }
    environ[f"{PREFIX}STATE_DIR"] = str(settings.state_dir)
    environ[f"{PREFIX}BATCH_BYTES"] = str(settings.batch_bytes)
    environ[f"{PREFIX}RETAIN"] = str(int(settings.retain))
    if settings.schema is not None:
        environ[f"{PREFIX}SCHEMA"] = settings.schema
    if settings.dsn is not None:
        environ[f"{PREFIX}DSN"] = settings.dsn  # never an argument: those are for everybody to see
    environ["PYTHONPATH"] = os.pathsep.join(_import_path())
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    return environ


def _import_path() -> list[str]:
    """Return where modules are found, absolute, without the program's own folder: its names could hide others."""
    package_home = str(Path(__file__).parents[2])
    found = [str(Path(place).absolute()) for place in sys.path if place]
    if sys.path and found and sys.path[0] and found[0] != package_home:
        found = found[1:]
    return found
