"""The one runtime of this process, which is made at first use."""

from __future__ import annotations

import threading
from typing import Any, Final, cast

from pipespan.config import Settings, load_settings, with_overrides
from pipespan.errors import UsageError
from pipespan.record.forks import FORKS
from pipespan.record.recorder import Recorder
from pipespan.record.scope import Opener
from pipespan.wiring.runtime import Runtime


class Process:
    """Holds the runtime of this process: what `with pipespan.pipeline(...)` works on without being told."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        self._runtime: Runtime | None = None
        FORKS.add(after_in_child=self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        # Another thread may have held it, which does not exist here.
        self._lock = threading.RLock()

    def configure(self, **overrides: Any) -> None:
        """See `pipespan.configure`."""
        with self._lock:
            if self._runtime is not None:
                raise UsageError("pipespan is in use already; call configure() before the first pipeline")
            self._settings = with_overrides(self._settings or load_settings(), **overrides)

    def adopt(self, settings: Settings) -> None:
        """Take the settings of the process that started this one, unless it has some."""
        with self._lock:
            if self._settings is None:
                self._settings = settings

    def settings(self) -> Settings:
        """Return the settings, which are read at first use."""
        with self._lock:
            if self._settings is None:
                self._settings = load_settings()
            return self._settings

    def runtime(self) -> Runtime | None:
        """Return the runtime, None when pipespan is disabled."""
        return self._runtime or self._make_runtime()

    def _make_runtime(self) -> Runtime | None:
        with self._lock:
            if self._runtime is None and not self.settings().disabled:
                self._runtime = Runtime(self.settings())
            return self._runtime

    def runtime_in_use(self) -> Runtime | None:
        """Return the runtime if there is one already."""
        return self._runtime

    def reset(self) -> None:
        """Close the runtime and forget everything; for tests."""
        with self._lock:
            runtime, self._runtime, self._settings = self._runtime, None, None
        if runtime is not None:
            runtime.close()


PROCESS: Final = Process()


class _NothingOpens:
    """Opens nothing, for decorators that were made before pipespan turned out to be disabled."""

    def open(self, level: str, name: str, parent: Any, options: dict[str, Any]) -> None:
        return None

    def close(self, node: Any, error: BaseException | None) -> None:
        pass


def opener() -> Opener:
    """Return what opens scopes."""
    runtime = PROCESS.runtime()
    return cast("Opener", _NothingOpens()) if runtime is None else runtime.ready()


def recorder() -> Recorder | None:
    """Return the recorder of this process; None when pipespan is disabled."""
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.recorder


def ready_recorder() -> Recorder | None:
    """Return the same with logs attached, for what is about to work below a node."""
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.ready()


def recorder_under(settings: Settings) -> Recorder | None:
    """Return the recorder; in a new process that has set nothing itself, one with the settings of its parent."""
    PROCESS.adopt(settings)
    return recorder()
