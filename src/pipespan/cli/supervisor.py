"""The process that looks after one detached command: `main([NAME, TOKEN, FD])`.

It is started by `pipespan run --detach` and `pipespan restart`, and lives as long as there are attempts of the command
to come. It loads as little as it can, for there is one for each command.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.supervise.attempts import Supervised
    from pipespan.supervise.keeper import Keeper
    from pipespan.supervise.processes import ProcessEntry
    from pipespan.supervise.registry import Registry

_OPENSSL: Final = ("ssl", "_ssl", "_hashlib")
"""Modules of Python that are built on OpenSSL. asyncio and hashlib do without where they are missing."""

_METADATA: Final = "importlib.metadata"

BATCH_BYTES: Final = 64 * 1024
"""So much is delivered in one transaction at most; a supervisor has time, and is to be small."""


def main(arguments: list[str]) -> None:
    """Look after the process that the registry has under a name, and exit as its last attempt did."""
    _take_signals()
    name, token, ready_fd = arguments[0], arguments[1], int(arguments[2])
    _keep_out()
    sys.exit(_supervise(name, token, ready_fd))


def _take_signals() -> None:
    """Survive hang-ups, and give the command the usual dispositions whatever the shell had us ignore.

    An ignored hang-up stays ignored for the command too: that is what `nohup` is for. A handler, unlike an ignored
    signal, is not inherited by the command.
    """
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _nothing)
    # A background job of a shell has these ignored, for the keys of a terminal that we do not have.
    for name in ("SIGINT", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def _keep_out() -> None:
    """Keep out what is large and not needed, unless there are exporters, which may need it."""
    from pipespan.config import otel_environment  # noqa: PLC0415 - what it needs is loaded when it is known

    if not otel_environment():
        # 4 MB: no TLS is spoken in this process, except by libpq, which has its own.
        for module in _OPENSSL:
            cast("dict[str, Any]", sys.modules)[module] = None
        sys.modules[_METADATA] = _NoMetadata(_METADATA)


class _NoMetadata(ModuleType):
    """Stands for `importlib.metadata`, of which the driver asks its own version and nothing else; it loads 1 MB.

    For anything but that the real one is loaded.
    """

    class PackageNotFoundError(ModuleNotFoundError):
        """No version is known."""

    def version(self, name: str) -> str:
        """Say that none is known, which the driver is content with."""
        raise self.PackageNotFoundError(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        import importlib  # noqa: PLC0415 - as above

        if sys.modules.get(_METADATA) is self:
            del sys.modules[_METADATA]
        return getattr(importlib.import_module(_METADATA), name)


def _supervise(name: str, token: str, ready_fd: int) -> int:
    from pipespan.config import forget_tuning, load_settings  # noqa: PLC0415 - as above
    from pipespan.supervise.detach import Report  # noqa: PLC0415
    from pipespan.supervise.registry import registry_of  # noqa: PLC0415

    forget_tuning()
    settings = load_settings()
    registry = registry_of(settings.state_dir)
    lock = registry.take_lock(name)
    entry = None if lock is None else registry.read(name)
    if entry is None or entry.token != token:
        Report(0, problem=f"a process {name!r} was started by somebody else at the same moment").send(
            ready_fd
        )
        return 1
    registry.clear_stop(name)
    # The rows of job and experiment tell how it was started; this is how.
    sys.argv = ["pipespan", "run", "--detach", "--", *entry.spec.argv]
    return _Supervisor(registry, entry, settings, ready_fd).run()


class _Supervisor:
    """Runs the attempts and keeps the registry."""

    def __init__(self, registry: Registry, entry: ProcessEntry, settings: Settings, ready_fd: int) -> None:
        from pipespan.supervise.keeper import Keeper  # noqa: PLC0415 - as above
        from pipespan.supervise.logfile import JsonLinesLog  # noqa: PLC0415

        self._entry = entry
        self._settings = settings
        self._ready_fd: int | None = ready_fd
        from pipespan.wiring.redaction import build_redactor  # noqa: PLC0415

        redact = build_redactor(settings).text
        self._keeper: Keeper = Keeper(registry, entry, JsonLinesLog(entry.spec.log), self._on_started, redact)

    def run(self) -> int:
        import asyncio  # noqa: PLC0415 - after OpenSSL was kept out

        try:
            done = asyncio.run(self._attempts())
        except BaseException as error:
            self._keeper.failed(error)
            raise
        self._keeper.over(done)
        self._report_end(done)
        return done.ended.return_code

    async def _attempts(self) -> Supervised:
        import asyncio  # noqa: PLC0415 - as above
        import os  # noqa: PLC0415

        from pipespan.supervise.attempts import Keeping, run_attempts  # noqa: PLC0415
        from pipespan.supervise.run import Command  # noqa: PLC0415

        spec = self._entry.spec
        nowhere = os.open(os.devnull, os.O_WRONLY)
        command = Command(spec.argv, spec.title, spec.params, spec.tags, (nowhere, nowhere))
        # A restart by hand goes on with the same experiment.
        first = self._entry.attempt + 1 if self._entry.attempt else self._settings.attempt
        keeping = Keeping(self._keeper, spec.policy, first, self._entry.experiment_id or None, is_apart=True)
        guard = asyncio.ensure_future(self._keeper.guard())
        try:
            return await run_attempts(command, self._recording(), keeping)
        finally:
            guard.cancel()
            os.close(nowhere)

    def _recording(self) -> Any:
        from pipespan.errors import PipespanError  # noqa: PLC0415 - as above
        from pipespan.supervise.recording import NoRecording  # noqa: PLC0415

        try:
            from pipespan.wiring.commands import CommandRecording  # noqa: PLC0415

            # Small batches: rows on their way stand in memory several times over.
            # What it leaves out other writers do: it is to be small.
            return CommandRecording(batch_bytes=min(self._settings.batch_bytes, BATCH_BYTES), retain=False)
        except PipespanError as error:
            self._keeper.lines(0, "pipespan", [f"nothing is recorded; {error}"])
            return NoRecording()

    def _on_started(self, entry: ProcessEntry) -> None:
        child = 0 if entry.child is None else entry.child.pid
        self._report(child, entry.experiment_id, "")

    def _report_end(self, done: Supervised) -> None:
        self._report(0, done.experiment_id, done.ended.problem or done.outcome)

    def _report(self, child_pid: int, experiment_id: str, problem: str) -> None:
        import os  # noqa: PLC0415 - as above

        from pipespan.supervise.detach import Report  # noqa: PLC0415

        if self._ready_fd is not None:
            Report(os.getpid(), child_pid, experiment_id, problem).send(self._ready_fd)
            self._ready_fd = None
