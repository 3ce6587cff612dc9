"""The public face: functions that work on the one runtime of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar, cast, overload

from pipespan.config import process_environment
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
from pipespan.record.scope import Scope
from pipespan.wiring import process
from pipespan.wiring.health import Health, health_of

FLUSH_S: Final = 30.0
"""`flush` waits so long where nothing else is said, as OpenTelemetry's `force_flush` does."""

FLUSH_AWAY_S: Final = 5.0
"""And so long while the database is away."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ItemT = TypeVar("ItemT")


def _scope(level: str, name: Any, options: dict[str, Any]) -> Any:
    given = options and {key: value for key, value in options.items() if value is not None}
    if callable(name):  # used as a bare decorator
        return Scope(process.opener, level, None, None, given)(name)
    return Scope(process.opener, level, name, None, given)


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
    recorder = process.recorder()
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
    recorder = process.recorder()
    node = None if recorder is None else recorder.parent_now()
    return None if recorder is None or node is None else (recorder, node)


def cancel_requested() -> bool:
    """Tell whether somebody has asked this process to stop, by `pipespan cancel`.

    A main thread that was told so has heard it, and is not interrupted by `Cancelled` at its next call.
    """
    runtime = process.PROCESS.runtime_in_use()
    cancellation = None if runtime is None else runtime.recorder.cancellation
    if cancellation is not None:
        cancellation.tell()
    return cancellation is not None


def on(
    *, started: Callback | None = None, progress: Callback | None = None, completed: Callback | None = None,
    failed: Callback | None = None,
) -> None:  # fmt: skip
    """Have functions called with the node when nodes of this process start, move, complete, or fail."""
    recorder = process.recorder()
    if recorder is not None:
        recorder.observers.append(Callbacks(recorder.notices, started, progress, completed, failed))


def get_logger(name: str | None = None, **fields: Any) -> Logger:
    """Return a logger whose `fields` stay on every record; see `Logger`."""
    return Logger(name or "pipeline", fields, record_log, _level_number(process.PROCESS.settings().log_level))


def logged(function: FunctionT) -> FunctionT:
    """Log a function's start, its end with the duration, and its failure, which is raised on; a decorator."""
    return get_logger(getattr(function, "__module__", None)).logged()(function)


def record_log(record: logging.LogRecord) -> None:
    """Record a log record for the current node, past the program's own handlers."""
    recorder = process.recorder()
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
    settings = process.PROCESS.settings()
    return (
        function if settings.disabled else carrier.wrap(function, partial(process.recorder_under, settings))
    )


def child_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for a child program that makes it join this experiment below the current node.

    Args:
        env: what to add to; this process's environment by default.
    """
    environ = dict(process_environment() if env is None else env)
    # The child must find the same spool and the same database.
    settings = process.PROCESS.settings()
    environ[ENV_STATE_DIR] = str(settings.state_dir)
    if settings.dsn is not None:
        environ[ENV_DSN] = settings.dsn
    recorder = process.recorder()
    return environ if recorder is None else environment_of(recorder.parent_now(), environ, recorder.worker)


def flush(timeout_s: float | None = None) -> bool:
    """Wait until everything recorded so far is in the database; return whether it is.

    Args:
        timeout_s: so long at most; without it 30 s, as in OpenTelemetry, and 5 s where the database is away.
    """
    runtime = process.PROCESS.runtime_in_use()
    if runtime is None:
        return True
    if timeout_s is None:
        return runtime.flush(FLUSH_S, FLUSH_AWAY_S)
    return runtime.flush(timeout_s, timeout_s)


def configure(**settings: Any) -> None:
    """Set settings by name, over environment and files; before the first pipeline.

    Raises:
        UsageError: pipespan is in use already.
        SettingsError: a name or a value cannot be understood.
    """
    process.PROCESS.configure(**settings)


def health() -> Health:
    """Return what pipespan did with its rows so far, and what it costs."""
    return health_of(process.PROCESS.runtime_in_use())
