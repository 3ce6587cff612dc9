"""What a detached supervisor writes down: its entry in the registry, and the command's output as JSON lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pipespan.record.identity import process_identity
from pipespan.supervise.attempts import DEFAULT_STOP_S, Supervised
from pipespan.supervise.logfile import OWN_STREAM, JsonLinesLog
from pipespan.supervise.processes import MAX_KEPT_ATTEMPTS, AttemptEnd, ProcessEntry, State
from pipespan.supervise.registry import Registry
from pipespan.supervise.standing import identity_of, now_unix_ns

CHECK_S: Final = 5.0
"""How often the supervisor looks whether what it wrote down is still there, and writes it anew if not."""


class Keeper:
    """Watches the attempts of one process and keeps its entry true; a full disk costs the entry, not the process."""

    def __init__(
        self,
        registry: Registry,
        entry: ProcessEntry,
        log: JsonLinesLog,
        on_started: Callable[[ProcessEntry], None],
        redact: Callable[[str], str] = str,
    ) -> None:
        self.entry = replace(entry, supervisor=process_identity())
        self._registry = registry
        self._log = log
        self._on_started = on_started
        # Hides secrets in what the command says; its arguments stay, since it is started by them again.
        self._redact = redact
        self._write()

    def started(self, attempt: int, pid: int, experiment_id: str) -> None:
        """See `Watcher`, as for the others."""
        self._write(
            state="running", attempt=attempt, child=identity_of(pid), started_at_unix_ns=now_unix_ns(),
            next_start_at_unix_ns=None, reason=None, experiment_id=experiment_id or self.entry.experiment_id,
        )  # fmt: skip
        self._on_started(self.entry)

    def lines(self, attempt: int, stream: str, lines: Sequence[str]) -> None:
        """Keep lines of the command."""
        self._log.write(attempt, stream, [self._redact(line) for line in lines])

    def ended(self, end: AttemptEnd) -> None:
        """Keep how an attempt ended."""
        end = replace(end, stderr_tail=tuple(self._redact(line) for line in end.stderr_tail))
        self.lines(end.attempt, OWN_STREAM, [f"attempt {end.attempt} {end.outcome}"])
        self._write(attempt=end.attempt, ends=(*self.entry.ends, end)[-MAX_KEPT_ATTEMPTS:])

    def waiting(self, attempt: int, delay_s: float, title: str) -> None:
        """Note the pause before an attempt."""
        self.lines(attempt, OWN_STREAM, [f"attempt {attempt} starts in {delay_s:g} s"])
        self._write(
            state="waiting", reason=title, attempt=attempt, child=None,
            next_start_at_unix_ns=now_unix_ns() + int(delay_s * 1e9),
        )  # fmt: skip

    def stop_asked(self) -> tuple[float, str]:
        """Return what was asked for; a signal without a word gets the usual time."""
        request = self._registry.stop_request(self.entry.name)
        if self.entry.state != "stopping":
            self._write(state="stopping")
        return (DEFAULT_STOP_S, "a signal") if request is None else (request.timeout_s, request.by)

    def over(self, done: Supervised) -> None:
        """Note the end of it all."""
        state: State = "completed"
        if done.outcome != "completed":
            state = "cancelled" if done.outcome.startswith("cancelled") else "failed"
        reason = (
            done.outcome if done.gave_up is None else f"{done.outcome}; not started again: {done.gave_up}"
        )
        self.lines(self.entry.attempt, OWN_STREAM, [f"over: {reason}"])
        self._write(
            state=state, reason=reason, ended_at_unix_ns=now_unix_ns(), next_start_at_unix_ns=None,
            experiment_id=done.experiment_id or self.entry.experiment_id,
        )  # fmt: skip
        self._registry.clear_stop(self.entry.name)
        self._log.close()

    def failed(self, error: BaseException) -> None:
        """Note that the supervisor itself came to grief."""
        self._write(
            state="failed", reason=f"its supervisor failed: {error!r}", ended_at_unix_ns=now_unix_ns()
        )

    async def guard(self) -> None:
        """Write the entry anew whenever it is gone or broken, for as long as the task lives."""
        while True:
            await asyncio.sleep(CHECK_S)
            if not self._registry.has_intact(self.entry):
                self._write()

    def _write(self, **changes: Any) -> None:
        self.entry = replace(self.entry, **changes)
        try:
            self._registry.write(self.entry)
        except OSError as error:
            self._log.write(self.entry.attempt, OWN_STREAM, [f"the registry cannot be written: {error!r}"])
