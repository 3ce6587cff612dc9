"""Records commands as experiments: what `pipespan run` and its supervisors write by."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipespan.model.causes import cause_of_exit, cause_of_signal
from pipespan.record.ending import Ending, with_ending
from pipespan.record.headers import environment_of
from pipespan.record.oomcount import own_cgroup, read_cgroup
from pipespan.spool.exitnote import ExitNote
from pipespan.spool.owner import read_stat
from pipespan.supervise.lines import LineRows
from pipespan.supervise.recording import JobEnd, NoRecord
from pipespan.supervise.run import new_record
from pipespan.wiring import api, process
from pipespan.wiring.childends import note_child_end
from pipespan.wiring.stores import spool_dirs

if TYPE_CHECKING:
    from pipespan.record.node import Node
    from pipespan.record.recorder import Recorder
    from pipespan.supervise.recording import AttemptRecord
    from pipespan.wiring.runtime import Runtime


class CommandRecording:
    """Records by the runtime of this process.

    Args:
        settings: over those of environment and files; None means not given.
    """

    def __init__(self, **settings: Any) -> None:
        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            api.configure(**given)
        self._attempts = 0

    def open(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Sequence[str],
        attempt: int,
        experiment_id: str | None,
    ) -> AttemptRecord:
        """See `Recording`."""
        runtime = process.PROCESS.runtime()
        if runtime is None:
            return NoRecord()
        self._attempts += 1
        recorder = runtime.ready()
        if self._attempts > 1 or experiment_id is not None:
            recorder = runtime.next_attempt(attempt, experiment_id)
        if recorder.adopted is not None:
            experiment_id = None  # it is a part of somebody else's experiment, which goes on
        return _Attempt(runtime, recorder, name, params, tags, experiment_id)


class _Attempt:
    """One attempt, with a recorder of its own: the next one may be open before this one is closed."""

    def __init__(
        self, runtime: Runtime, recorder: Recorder, name: str, params: Mapping[str, Any], tags: Sequence[str],
        experiment_id: str | None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._recorder = recorder
        # Ours is never the current node of the caller, who may be in the midst of another attempt.
        self._context = contextvars.copy_context()
        options: dict[str, Any] = {"params": params, "tags": tags}
        if experiment_id is not None:
            options["experiment_id"] = experiment_id
        self._scope = recorder.scope("pipeline", name, **options)
        self._node: Node = self._context.run(self._scope.__enter__)
        self.experiment_id = str(self._node.experiment_id)
        self._rows = self._line_rows()
        self._child: tuple[int, int | None] = (0, None)
        self._cgroup = own_cgroup()
        self._oom_kills_before = _oom_kills(self._cgroup)

    def _line_rows(self) -> LineRows | None:
        """Return what writes many lines fast; None when they go to an exporter too, which wants each by itself."""
        telemetry = self._runtime.telemetry
        if telemetry is None or telemetry.providers.logger is not None or not self.experiment_id:
            return None
        runtime = self._runtime
        return LineRows(self._node, self._recorder, runtime.redactor.text)

    def child_env(self) -> dict[str, str]:
        """See `AttemptRecord`, as for the others."""
        environ = api.child_env()
        return environment_of(self._node, environ, self._recorder.worker) if self.experiment_id else environ

    def log(self, record: logging.LogRecord) -> None:
        """Record a log record."""
        self._context.run(self._recorder.log, record)

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        """Record lines of a stream."""
        if self._rows is not None:
            self._rows.write(stream, lines)
            return
        for line in lines:
            self.log(new_record(stream, logging.INFO, line))

    def message(self, text: str) -> None:
        """Show a line beside the pipeline."""
        self._node.message(text)

    def event(self, title: str, details: Mapping[str, Any]) -> None:
        """Record an event."""
        if self.experiment_id:
            self._recorder.event(
                self._node,
                title,
                event_type="restart",
                severity="WARNING",
                details={"title": title, **details},
            )

    def cancelled_by(self) -> str | None:
        """Return who has asked for the end of it."""
        cancellation = self._recorder.cancellation
        return None if cancellation is None else cancellation.asked_by

    def end(self, error: BaseException | None, job: JobEnd) -> None:
        """End the attempt."""
        found = self._recorder.jobs.running.get(self.experiment_id)
        ending = self._ending(job)
        if error is not None:
            with_ending(error, ending)
        # By hand and not by `with`: the exception stands for the child's end, our own frames say nothing of it.
        self._context.run(self._scope.__exit__, None if error is None else type(error), error, None)
        if found is not None:
            self._recorder.jobs.end(found, job.status, ending)
            # The later of two ends of an attempt is kept; this one says more.
            self._recorder.write(found.row(
                job.status, cause=ending.cause, exit_code=ending.exit_code, exit_signal=ending.exit_signal,
                evidence=ending.evidence,
            ))  # fmt: skip
        if self._recorder is not self._runtime.recorder:
            # A later attempt has a recorder of its own, and nobody asks this one any more.
            self._recorder.jobs.close_reader()

    def _ending(self, job: JobEnd) -> Ending:
        oom_kills = max(_oom_kills(self._cgroup) - self._oom_kills_before, 0)
        if job.exit_signal is not None:
            cause = cause_of_signal(job.exit_signal, oom_kills=oom_kills)
        else:
            cause = cause_of_exit(job.exit_code or 0, oom_kills=oom_kills)
        evidence: dict[str, Any] = {"outcome": job.cause}
        if job.status == "cancelled" and (asked_by := self.cancelled_by()) is not None:
            evidence["ended_by"], cause = cause, f"cancelled by {asked_by}"
        if job.stderr_tail:
            evidence["stderr_tail"] = list(job.stderr_tail)
        if oom_kills:
            evidence["cgroup_oom_kills"] = oom_kills
        return Ending(cause, job.exit_code, job.exit_signal, evidence)

    def child_started(self, pid: int) -> None:
        """Note which process the command is."""
        stat = read_stat(pid)
        self._child = (pid, None if stat is None else stat.start_ticks)

    def child_ended(self, exit_code: int | None, exit_signal: int | None) -> None:
        """Leave the exit status with the rows that the command itself has recorded, if it did."""
        pid, start_ticks = self._child
        note = ExitNote(exit_code, exit_signal, "its supervisor", time.time_ns())
        note_child_end(spool_dirs(self._runtime.settings), pid, start_ticks, note)


def _oom_kills(cgroup: Path | None) -> int:
    found = None if cgroup is None else read_cgroup(cgroup)
    return 0 if found is None else found.oom_kills
