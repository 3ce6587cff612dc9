"""The registry of supervised processes: small files under the state folder, which outlive whoever wrote them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipespan.errors import NotFoundError, PipespanError, UsageError
from pipespan.spool.lock import FileLock
from pipespan.supervise.logfile import FOLDER_MODE
from pipespan.supervise.processes import ProcessEntry
from pipespan.supervise.standing import Find, Standing, finder, now_unix_ns, standing_of

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.@+-]+")
_LOCK_WAIT_S: Final = 2.0


class NameTakenError(PipespanError):
    """A process of this name runs already."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """What `pipespan stop` tells a supervisor beside the signal.

    Attributes:
        timeout_s: how long the command may take before it is killed.
        by: who asked.
    """

    timeout_s: float
    by: str


class Registry:
    """The entries of one state folder. Readers mend what they find stale; only supervisors write what is new."""

    def __init__(self, folder: Path, find: Find | None = None) -> None:
        self.folder = folder
        self._find = finder() if find is None else find

    def read(self, name: str) -> ProcessEntry | None:
        """Return an entry, None when there is none; one that cannot be read is put aside and counts as none."""
        path = self._path(name, "json")
        try:
            return ProcessEntry.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            self._put_aside(name, path)
            return None

    def get(self, name: str) -> tuple[ProcessEntry, Standing]:
        """Return an entry and how it stands.

        Raises:
            NotFoundError: there is none of this name.
        """
        entry = self.read(name) if _NAME.fullmatch(name) else None
        if entry is None:
            known = ", ".join(self.names()) or "none"
            raise NotFoundError(f"no process {name!r}; known are: {known}")
        return self.heal(entry)

    def names(self) -> list[str]:
        """Return the names of all entries."""
        try:
            found = sorted(path.name.removesuffix(".json") for path in self.folder.glob("*.json"))
        except OSError:
            return []
        return [name for name in found if _NAME.fullmatch(name)]

    def all(self) -> list[tuple[ProcessEntry, Standing]]:
        """Return all entries, oldest first, and how each stands."""
        entries = [entry for entry in map(self.read, self.names()) if entry is not None]
        return [self.heal(entry) for entry in sorted(entries, key=lambda entry: entry.created_at_unix_ns)]

    def heal(self, entry: ProcessEntry) -> tuple[ProcessEntry, Standing]:
        """Return how `entry` stands; write down a death that nobody has written down, remove its pid file."""
        standing = standing_of(entry, self._find, now_unix_ns())
        if standing.word == "dead" and entry.state != "dead":
            with self.claimed(entry.name) as is_ours:
                if is_ours and self.read(entry.name) == entry:
                    entry = replace(
                        entry, state="dead", reason=standing.reason, ended_at_unix_ns=now_unix_ns()
                    )
                    with contextlib.suppress(OSError):
                        self.write(entry)
        if not standing.has_supervisor and standing.word not in {"unknown", "starting"}:
            self._remove_pid_file(entry.name)
        return entry, standing

    def write(self, entry: ProcessEntry) -> None:
        """Put `entry` in the place of what was there, whole or not at all."""
        self._write(entry.name, "json", entry.to_json())
        if entry.supervisor is not None and entry.ended_at_unix_ns is None:
            self._write(entry.name, "pid", f"{entry.supervisor.pid}\n")
        elif entry.ended_at_unix_ns is not None:
            self._remove_pid_file(entry.name)

    def has_intact(self, entry: ProcessEntry) -> bool:
        """Tell whether `entry` is still there as it was written."""
        try:
            text = self._path(entry.name, "json").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return text == entry.to_json() and self._path(entry.name, "pid").exists()

    def remove(self, name: str) -> None:
        """Forget a process that has ended."""
        for suffix in ("json", "pid", "stop", "err"):
            self._path(name, suffix).unlink(missing_ok=True)

    def free_name(self, wanted: str) -> str:
        """Return a name that no process of the registry has: `wanted`, or that with a number behind it."""
        base = _NOT_IN_NAMES.sub("-", wanted).lstrip(".@+-")[:50] or "process"
        number = 1
        while self._path(base if number == 1 else f"{base}-{number}", "json").exists():
            number += 1
        return base if number == 1 else f"{base}-{number}"

    @staticmethod
    def check_name(name: str) -> None:
        """See whether `name` can be a key.

        Raises:
            UsageError: it cannot.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a process; take letters, digits and . _ @ + -, 64 at most"
            )

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Try to keep everybody else from starting `name`; gives whether that is so."""
        lock = self.take_lock(name, wait_s=0.0)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def take_lock(self, name: str, wait_s: float = _LOCK_WAIT_S) -> FileLock | None:
        """Return the lock that a supervisor holds as long as it lives, None when another has it."""
        make_private_folder(self.folder)
        deadline = time.monotonic() + wait_s
        # A reader may hold it for the moment in which it mends an entry.
        while (lock := FileLock.try_take(self._path(name, "lock"))) is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)
        return lock

    def request_stop(self, name: str, request: StopRequest) -> None:
        """Leave word for the supervisor."""
        self._write(name, "stop", json.dumps({"timeout_s": request.timeout_s, "by": request.by}))

    def stop_request(self, name: str) -> StopRequest | None:
        """Return the word that was left, None when there is none that makes sense."""
        try:
            found: Any = json.loads(self._path(name, "stop").read_text(encoding="utf-8"))
            return StopRequest(float(found["timeout_s"]), str(found["by"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def clear_stop(self, name: str) -> None:
        """Remove the word of an earlier stop."""
        with contextlib.suppress(OSError):
            self._path(name, "stop").unlink(missing_ok=True)

    def error_path(self, name: str) -> Path:
        """Return the file in which a supervisor leaves what it has to say about itself."""
        return self._path(name, "err")

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}.{suffix}"

    def _write(self, name: str, suffix: str, text: str) -> None:
        make_private_folder(self.folder)
        fd, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".new")
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            Path(temporary).replace(self._path(name, suffix))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _remove_pid_file(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self._path(name, "pid").unlink(missing_ok=True)

    def _put_aside(self, name: str, path: Path) -> None:
        """Keep a broken file for whoever wants to look, unless a living supervisor is about to write it anew."""
        with contextlib.suppress(OSError), self.claimed(name) as is_ours:
            if is_ours:
                path.replace(path.with_suffix(".corrupt"))
                self._remove_pid_file(name)


def make_private_folder(folder: Path) -> None:
    """Make a folder that is ours alone; one that is there keeps its mode, except that it is closed to others."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(FOLDER_MODE)


def registry_of(state_dir: Path) -> Registry:
    """Return the registry that is kept in a state folder."""
    return Registry(state_dir / "processes")
