"""Which jobs of a stream's process have not ended: a list beside the rows, for whoever finds the stream orphaned.

The rows themselves tell it too, but they are shipped and removed while the process lives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipespan.spool.private import open_private

JOBS: Final = "jobs"
"""File in a stream's folder: a line `+ <job> <experiment>` for each job that began, `- <job>` for each that ended."""


class OpenJobs:
    """Keeps the list of one process; the spool's writer calls it under its lock."""

    def __init__(self) -> None:
        self._experiments: dict[str, str] = {}

    def began(self, job_id: str, experiment_id: str, folder: Path | None) -> None:
        """Note a job that is not over; `folder` is the stream's, None while there is none."""
        if job_id not in self._experiments:
            self._experiments[job_id] = experiment_id
            _append(folder, f"+ {job_id} {experiment_id}\n")

    def ended(self, job_id: str, folder: Path | None) -> None:
        """Note that a job is over."""
        if self._experiments.pop(job_id, None) is not None:
            _append(folder, f"- {job_id}\n")

    def write_all(self, folder: Path) -> None:
        """Begin the list of a new stream."""
        _append(folder, "".join(f"+ {job} {experiment}\n" for job, experiment in self._experiments.items()))


def read_open_jobs(folder: Path) -> Mapping[str, str]:
    """Return the experiments of the jobs that have not ended, by job id; none when there is no list."""
    try:
        lines = (folder / JOBS).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "+":
            found[words[1]] = words[2]
        elif len(words) == 2 and words[0] == "-":
            found.pop(words[1], None)
    return found


def _append(folder: Path | None, text: str) -> None:
    if folder is None or not text:
        return
    try:
        with open_private(folder / JOBS, os.O_APPEND) as file:
            file.write(text.encode())
    except OSError:
        pass  # without the list a death is found by readers only; the rows are worth more than a notice
