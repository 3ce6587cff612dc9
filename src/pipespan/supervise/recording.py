"""Where what a command says and how it ends is recorded: the contract, and the way to record nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipespan.config import process_environment
from pipespan.model.status import Status


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How one attempt of a command ended, for the row of its job.

    Attributes:
        status: what becomes of the attempt.
        cause: why, in words.
        exit_code: of the command; None when a signal ended it.
        exit_signal: the signal that ended it.
        stderr_tail: its last words.
    """

    status: Status
    cause: str
    exit_code: int | None
    exit_signal: int | None
    stderr_tail: Sequence[str]


class AttemptRecord(Protocol):
    """The record of one attempt while it runs."""

    @property
    def experiment_id(self) -> str:
        """UUID of the experiment; empty when nothing is recorded."""

    def child_env(self) -> dict[str, str]:
        """Return the environment that makes a child join below the attempt's pipeline."""

    def log(self, record: logging.LogRecord) -> None:
        """Record `record` for the pipeline, without any handler of `logging` seeing it."""

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        """Record each of `lines` for the pipeline at INFO, the stream's name being the logger's."""

    def message(self, text: str) -> None:
        """Set the line that is shown beside the pipeline."""

    def event(self, title: str, details: Mapping[str, Any]) -> None:
        """Record that the command is started again, as an event of the pipeline."""

    def child_started(self, pid: int) -> None:
        """Note which process the command is."""

    def child_ended(self, exit_code: int | None, exit_signal: int | None) -> None:
        """Leave the exit status with what the command itself has recorded."""

    def cancelled_by(self) -> str | None:
        """Return who has asked for the end of it, by `pipespan cancel`; None when nobody has."""

    def end(self, error: BaseException | None, job: JobEnd) -> None:
        """End the attempt, and the experiment with it unless a later attempt was opened before."""


class Recording(Protocol):
    """Where experiments are recorded. Whatever it raises costs the record and not the command."""

    def open(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Sequence[str],
        attempt: int,
        experiment_id: str | None,
    ) -> AttemptRecord:
        """Open an attempt of an experiment, of a new one when there is no id."""


class NoRecord:
    """An attempt of which nothing is recorded."""

    experiment_id = ""

    def child_env(self) -> dict[str, str]:
        """Return our own environment."""
        return process_environment()

    def log(self, record: logging.LogRecord) -> None:
        """Do nothing, as all that follows."""

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def event(self, title: str, details: Mapping[str, Any]) -> None:
        """Do nothing."""

    def cancelled_by(self) -> str | None:
        """Return None: nobody can ask."""

    def end(self, error: BaseException | None, job: JobEnd) -> None:
        """Do nothing."""

    def child_started(self, pid: int) -> None:
        """Do nothing."""

    def child_ended(self, exit_code: int | None, exit_signal: int | None) -> None:
        """Do nothing."""


class NoRecording:
    """Records nothing."""

    def open(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Sequence[str],
        attempt: int,
        experiment_id: str | None,
    ) -> NoRecord:
        """Return an attempt of which nothing is recorded."""
        return NoRecord()
