"""A logger with fields that stay, performance records, and a decorator that logs start, duration and failure."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from pipespan.model.semconv import PERFORMANCE

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_STACK_LEVEL: Final = 3


class Logger:
    """Logs through `logging`, so all handlers of the program see it, and records it even below their level.

    A record that the program's own levels would let go (an INFO where the root stands at WARNING, say) is recorded
    by pipespan alone, from `lowest` on.

    Args:
        name: of the logger in `logging`.
        fields: stay on every record.
        record: takes records that `logging` would drop.
        lowest: level (a number of `logging`) from which on those are taken.
    """

    __slots__ = ("_fields", "_logger", "_lowest", "_record")

    def __init__(
        self, name: str, fields: Mapping[str, Any], record: Callable[[logging.LogRecord], None], lowest: int
    ) -> None:
        self._logger = logging.getLogger(name)
        self._fields = dict(fields)
        self._record = record
        self._lowest = lowest

    def bind(self, **fields: Any) -> Logger:
        """Return a logger with further fields."""
        return Logger(self._logger.name, {**self._fields, **fields}, self._record, self._lowest)

    def debug(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at DEBUG."""
        self._log(logging.DEBUG, message, args, fields)

    def info(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at INFO."""
        self._log(logging.INFO, message, args, fields)

    def warning(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at WARNING."""
        self._log(logging.WARNING, message, args, fields)

    def error(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at ERROR."""
        self._log(logging.ERROR, message, args, fields)

    def critical(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at CRITICAL."""
        self._log(logging.CRITICAL, message, args, fields)

    def exception(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at ERROR with the traceback of the exception that is being handled."""
        fields.setdefault("exc_info", True)
        self._log(logging.ERROR, message, args, fields)

    def performance(self, operation: str, seconds: float, **figures: Any) -> None:
        """Log how long an operation took, with any further figures.

        Args:
            operation: what was done, low in variety: it is what histories are grouped by.
            seconds: how long it took.
            figures: such as `rows=1000` or `memory_mb=12.5`.
        """
        measured = {"operation": operation, "duration_s": seconds, **figures}
        self._log(logging.INFO, "%s took %.3f s", (operation, seconds), {PERFORMANCE: measured})

    def _log(self, level: int, message: str, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        exc_info = fields.pop("exc_info", None)
        is_wanted = self._logger.isEnabledFor(level)
        if not is_wanted and level < self._lowest:
            return
        extra = {_free(name): value for name, value in {**self._fields, **fields}.items()}
        if is_wanted:
            self._logger.log(level, message, *args, exc_info=exc_info, extra=extra, stacklevel=_STACK_LEVEL)
            return
        frame = sys._getframe(_STACK_LEVEL - 1)  # noqa: SLF001 - what `logging` itself does to find the caller
        record = logging.LogRecord(
            self._logger.name, level, frame.f_code.co_filename, frame.f_lineno, message, args,
            _exc_info(exc_info), frame.f_code.co_name,
        )  # fmt: skip
        record.__dict__.update(extra)
        self._record(record)

    def logged(self, operation: str | None = None) -> Callable[[FunctionT], FunctionT]:
        """Return a decorator that logs a function's start, its end with the duration, and its failure."""

        def decorate(function: FunctionT) -> FunctionT:
            return cast("FunctionT", _logged(function, self, operation or function.__qualname__))

        return decorate


def _free(name: str) -> str:
    # `logging` refuses extra fields that are named like its own.
    return f"{name}_" if name in _TAKEN else name


def _exc_info(value: Any) -> Any:
    if value is True:
        return sys.exc_info()
    if isinstance(value, BaseException):
        return (type(value), value, value.__traceback__)
    return value or None


class _Span:
    """Logs around a block."""

    __slots__ = ("_log", "_operation", "_start_s")

    def __init__(self, log: Logger, operation: str) -> None:
        self._log = log
        self._operation = operation

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()
        self._log.info("%s started", self._operation)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._start_s
        if error is None:
            self._log.performance(self._operation, seconds)
            return
        measured = {"operation": self._operation, "duration_s": seconds}
        fields = {PERFORMANCE: measured, "exc_info": error}
        self._log.error("%s failed after %.3f s", self._operation, seconds, **fields)


def _logged(function: Any, log: Logger, operation: str) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with _Span(log, operation):
                return await function(*args, **kwargs)

        return coroutine
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with _Span(log, operation):
                return (yield from function(*args, **kwargs))

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with _Span(log, operation):
            return function(*args, **kwargs)

    return plain
