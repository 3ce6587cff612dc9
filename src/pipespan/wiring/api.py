"""The public face: functions that work on the one runtime of this process, which is made at first use."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar, cast, overload

from pipespan.config import Settings, load_settings, process_environment, with_overrides
from pipespan.errors import UsageError
from pipespan.model.semconv import ENV_DSN, ENV_STATE_DIR
from pipespan.model.status import LogLevel
from pipespan.record import carrier
from pipespan.record.callbacks import Callback, Callbacks
from pipespan.record.headers import environment_of
from pipespan.record.logs import Logger
from pipespan.record.node import Node
from pipespan.record.null import NULL_NODE
from pipespan.record.parent import Parent
from pipespan.record.recorder import Recorder
from pipespan.record.scope import Opener, Scope
from pipespan.wiring.health import Health, health_of
from pipespan.wiring.runtime import Runtime

FLUSH_S: Final = 5.0
"""`flush` waits so long where nothing else is said."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ItemT = TypeVar("ItemT")


class _Process:
    """Holds the runtime of this process: what `with pipespan.pipeline(...)` works on without being told."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._settings: Settings | None = None
        self._runtime: Runtime | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        # Another thread may have held it, which does not exist here.
        self._lock = threading.RLock()

    def configure(self, **overrides: Any) -> None:
        with self._lock:
            if self._runtime is not None:
                raise UsageError("pipespan is in use already; call configure() before the first pipeline")
            self._settings = with_overrides(self._settings or load_settings(), **overrides)

    def adopt(self, settings: Settings) -> None:
        with self._lock:
            if self._settings is None:
                self._settings = settings

    def settings(self) -> Settings:
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
        return self._runtime

    def reset(self) -> None:
        """Close the runtime and forget everything; for tests."""
        with self._lock:
            runtime, self._runtime, self._settings = self._runtime, None, None
        if runtime is not None:
            runtime.close()


PROCESS: Final = _Process()


class _NothingOpens:
    """Opens nothing, for decorators that were made before pipespan turned out to be disabled."""

    def open(self, level: str, name: str, parent: Any, options: dict[str, Any]) -> None:
        return None

    def close(self, node: Any, error: BaseException | None) -> None:
        pass


def _opener() -> Opener:
    runtime = PROCESS.runtime()
    return cast("Opener", _NothingOpens()) if runtime is None else runtime.ready()


def _recorder() -> Recorder | None:
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.recorder


def recorder() -> Recorder | None:
    """Return the recorder of this process, for what carries nodes elsewhere; None when pipespan is disabled."""
    return _recorder()


def ready_recorder() -> Recorder | None:
    """Return the same with logs attached, for what is about to work below a node."""
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.ready()


def _recorder_under(settings: Settings) -> Recorder | None:
    """Return the recorder; in a new process that has set nothing itself, one with the settings of its parent."""
    PROCESS.adopt(settings)
    return _recorder()


def _scope(level: str, name: Any, options: dict[str, Any]) -> Any:
    given = {key: value for key, value in options.items() if value is not None}
    if callable(name):  # used as a bare decorator
        return Scope(_opener, level, None, None, given)(name)
    return Scope(_opener, level, name, None, given)


@overload
def pipeline(name: FunctionT) -> FunctionT: ...
@overload
def pipeline(
    name: str | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
    experiment_id: Any = None,
    total: int | None = None,
    unit: str | None = None,
    expect_progress_every: float | None = None,
) -> Scope: ...
def pipeline(
    name: Any = None, *, params: Mapping[str, Any] | None = None, tags: Iterable[str] | None = None,
    experiment_id: Any = None, total: int | None = None, unit: str | None = None,
    expect_progress_every: float | None = None,
) -> Any:  # fmt: skip
    """Open a pipeline: an experiment of its own, or a part of the one that this process belongs to.

    A context manager, sync and async, that gives a `Node`; or a decorator.

    Args:
        name: what the experiment is called; a decorated function's name by default.
        params: what makes this run different from others.
        tags: words to find it by.
        experiment_id: a UUID, when the experiment has one already.
        total: how many units it will do, where it counts some itself.
        unit: what a unit is called.
        expect_progress_every: after so many seconds in which nothing in it moves it counts as stalled.

    Raises:
        UsageError: an argument can never work.
    """
    return _scope("pipeline", name, {
        "params": params, "tags": tags, "experiment_id": experiment_id, "total": total, "unit": unit,
        "expect_progress_every": expect_progress_every,
    })  # fmt: skip


@overload
def phase(name: FunctionT) -> FunctionT: ...
@overload
def phase(
    name: str | None = None,
    *,
    total: int | None = None,
    unit: str | None = None,
    weight: float | None = None,
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    expect_progress_every: float | None = None,
) -> Scope: ...
def phase(name: Any = None, **options: Any) -> Any:
    """Open a phase below the current node; see `step`."""
    return _scope("phase", name, options)


@overload
def step(name: FunctionT) -> FunctionT: ...
@overload
def step(
    name: str | None = None,
    *,
    total: int | None = None,
    unit: str | None = None,
    weight: float | None = None,
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    expect_progress_every: float | None = None,
) -> Scope: ...
def step(name: Any = None, **options: Any) -> Any:
    """Open a step below the current node.

    A context manager, sync and async, that gives a `Node`; or a decorator. Outside of any pipeline it does nothing.

    Args:
        name: what it is called; a decorated function's name by default.
        **options: `total`, how many units it will do (without one its progress is that of its children); `unit`,
            what a unit is called, such as "files"; `weight`, how much it counts in its parent's progress, 1 by
            default; `key`, its place in the node id, where the name is not fit to find it again; `metadata`,
            anything worth keeping with it; `expect_progress_every`, after how many seconds without any movement it
            counts as stalled, learnt from its own pace by default.

    Raises:
        UsageError: an argument can never work.
    """
    return _scope("step", name, options)


@overload
def substep(name: FunctionT) -> FunctionT: ...
@overload
def substep(
    name: str | None = None,
    *,
    total: int | None = None,
    unit: str | None = None,
    weight: float | None = None,
    key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    expect_progress_every: float | None = None,
) -> Scope: ...
def substep(name: Any = None, **options: Any) -> Any:
    """Open a substep below the current node; see `step`."""
    return _scope("substep", name, options)


def current() -> Node:
    """Return the current node; outside of any pipeline one on which everything is without effect."""
    recorder = _recorder()
    node = None if recorder is None else recorder.parent_now()
    return node if isinstance(node, Node) else cast("Node", NULL_NODE)


def track(items: Iterable[ItemT], *, unit: str | None = None, total: int | None = None) -> Iterable[ItemT]:
    """Count the items of an iterable as units of the current node; see `Node.track`."""
    return current().track(items, unit=unit, total=total)


def progress(completed: float, total: float | None = None, message: str | None = None) -> None:
    """Set how far the current node is; see `Node.progress`."""
    current().progress(completed, total, message)


def advance(n: float = 1, message: str | None = None) -> None:
    """Add to what the current node has done; see `Node.advance`."""
    current().advance(n, message)


def event(title: str, *, event_type: str = "note", severity: LogLevel = "INFO", **details: Any) -> None:
    """Record something worth telling about the current node."""
    if (found := _here()) is not None:
        found[0].event(found[1], title, event_type=event_type, severity=severity, details=details)


def artifact(location: Any, *, kind: str | None = None, **metadata: Any) -> None:
    """Record something that the current node made; see `Node.artifact`."""
    if (found := _here()) is not None:
        found[0].artifact(found[1], location, kind, metadata)


def metric(**values: Any) -> None:
    """Record values that the current node measured."""
    if (found := _here()) is not None:
        found[0].metric(found[1], values)


def _here() -> tuple[Recorder, Parent] | None:
    recorder = _recorder()
    node = None if recorder is None else recorder.parent_now()
    return None if recorder is None or node is None else (recorder, node)


def cancel_requested() -> bool:
    """Tell whether somebody has asked this process to stop, by `pipespan cancel`.

    A main thread that was told so has heard it, and is not interrupted by `Cancelled` at its next call.
    """
    runtime = PROCESS.runtime_in_use()
    cancellation = None if runtime is None else runtime.recorder.cancellation
    if cancellation is not None:
        cancellation.tell()
    return cancellation is not None


def on(
    *, started: Callback | None = None, progress: Callback | None = None, completed: Callback | None = None,
    failed: Callback | None = None,
) -> None:  # fmt: skip
    """Have functions called with the node when nodes of this process start, move, complete, or fail."""
    recorder = _recorder()
    if recorder is not None:
        recorder.observers.append(Callbacks(recorder.notices, started, progress, completed, failed))


def get_logger(name: str | None = None, **fields: Any) -> Logger:
    """Return a logger whose `fields` stay on every record; see `Logger`."""
    return Logger(name or "pipeline", fields, record_log, _level_number(PROCESS.settings().log_level))


def logged(function: FunctionT) -> FunctionT:
    """Log a function's start, its end with the duration, and its failure, which is raised on; a decorator."""
    return get_logger(getattr(function, "__module__", None)).logged()(function)


def record_log(record: logging.LogRecord) -> None:
    """Record a log record for the current node, past the program's own handlers."""
    recorder = _recorder()
    if recorder is not None:
        recorder.log(record)


def _level_number(name: str) -> int:
    number = logging.getLevelName(name.upper())
    return number if isinstance(number, int) else logging.INFO


def wrap(function: FunctionT) -> FunctionT:
    """Return `function` bound to the current node, for another thread or process.

    Python loses the context in `threading.Thread`, executors' threads and spawned processes. The result can be
    pickled where `function` can.
    """
    settings = PROCESS.settings()
    return function if settings.disabled else carrier.wrap(function, partial(_recorder_under, settings))


def child_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for a child program that makes it join this experiment below the current node.

    Args:
        env: what to add to; this process's environment by default.
    """
    environ = dict(process_environment() if env is None else env)
    # The child must find the same spool and the same database.
    settings = PROCESS.settings()
    environ[ENV_STATE_DIR] = str(settings.state_dir)
    if settings.dsn is not None:
        environ[ENV_DSN] = settings.dsn
    recorder = _recorder()
    return environ if recorder is None else environment_of(recorder.parent_now(), environ, recorder.worker)


def flush(timeout_s: float | None = None) -> bool:
    """Wait until everything recorded so far is in the database, 5 s by default; return whether it is."""
    runtime = PROCESS.runtime_in_use()
    if runtime is None:
        return True
    return runtime.flush(FLUSH_S if timeout_s is None else timeout_s)


def configure(**settings: Any) -> None:
    """Set settings by name, over environment and files; before the first pipeline.

    Raises:
        UsageError: pipespan is in use already.
        SettingsError: a name or a value cannot be understood.
    """
    PROCESS.configure(**settings)


def health() -> Health:
    """Return what pipespan did with its rows so far, and what it costs."""
    return health_of(PROCESS.runtime_in_use())
