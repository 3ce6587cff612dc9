"""Who we are: (host, boot id, pid, process start time), never a pid alone; and what was started."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pipespan.model.attributes import cut_text
from pipespan.model.rows import ExperimentRow
from pipespan.spool.owner import boot_id, pid_namespace

if TYPE_CHECKING:
    from pipespan.record.options import PipelineOptions
    from pipespan.record.parent import Experiment

_MAX_COMMAND_CHARS = 2000


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of one host."""

    host: str
    boot_id: str | None
    pid: int
    started_at_unix_ns: int | None
    pid_namespace: str | None = None

    def evidence(self) -> dict[str, str]:
        """Return what a reader needs beside the columns to tell whether this process lives."""
        return {} if self.pid_namespace is None else {"pid_namespace": self.pid_namespace}


def process_identity() -> ProcessIdentity:
    """Return the identity of this process; never raises."""
    try:
        started_at = int(psutil.Process().create_time() * 1e9)
    except (psutil.Error, OSError):
        started_at = None
    return ProcessIdentity(socket.gethostname(), boot_id(), os.getpid(), started_at, pid_namespace())


def user_name() -> str | None:
    """Return who runs the process, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no passwd entry, as in many containers
        return str(os.getuid()) if hasattr(os, "getuid") else None


def command_line() -> str:
    """Return how this process was started, shell-quoted and bounded."""
    words = [sys.executable or "python", *sys.argv] if sys.argv else [sys.executable or "python"]
    return cut_text(" ".join(shlex.quote(word) for word in words), _MAX_COMMAND_CHARS)


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit that is checked out around `folder` (default: the working folder), without starting git."""
    try:
        place = Path.cwd() if folder is None else folder
        for candidate in (place, *place.parents):
            dot_git = candidate / ".git"
            if dot_git.exists():
                return _head_of(_git_dir(dot_git))
    except (OSError, ValueError):
        pass
    return None


def _git_dir(dot_git: Path) -> Path:
    if dot_git.is_dir():
        return dot_git
    # A worktree or submodule: a file that says where the folder is.
    target = dot_git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    return (dot_git.parent / target).resolve()


def _head_of(git_dir: Path) -> str | None:
    head = (git_dir / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head or None
    ref = head.removeprefix("ref:").strip()
    common = git_dir / "commondir"
    roots = [git_dir]
    if common.exists():
        roots.append((git_dir / common.read_text(encoding="utf-8").strip()).resolve())
    for root in roots:
        if (root / ref).is_file():
            return (root / ref).read_text(encoding="utf-8").strip()
        packed = root / "packed-refs"
        if packed.is_file():
            for line in packed.read_text(encoding="utf-8").splitlines():
                commit, _, name = line.partition(" ")
                if name == ref:
                    return commit
    return None


def experiment_row(
    experiment: Experiment, options: PipelineOptions, trace_id: str, host: str
) -> ExperimentRow:
    """Return the row of an experiment that this process begins, with how it was started."""
    return ExperimentRow(
        id=experiment.id,
        name=experiment.name,
        status="running",
        params=options.params,
        tags=options.tags,
        command=command_line(),
        host=host,
        user_name=user_name(),
        git_commit=git_commit(),
        started_at=experiment.started_at_unix_ns,
        ended_at=None,
        trace_id=trace_id,
        attempt=experiment.attempt,
        version=experiment.started_at_unix_ns,
    )
