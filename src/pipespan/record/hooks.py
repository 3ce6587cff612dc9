"""Takes in what goes wrong outside of any scope: Python's hooks for it are chained, and what was there runs as before.

What a hook is told becomes a log record with the traceback, of the node that is current there.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.attributes import cut_text
from pipespan.record.failures import LOGGER_NAME, was_reported
from pipespan.record.outcome import message_of

if TYPE_CHECKING:
    import asyncio

Report = Callable[[logging.LogRecord], None]
Trouble = Callable[[Exception], None]
"""Counts a failure of our own; must not raise."""

MAX_REASON_CHARS: Final = 200
_TIMES_AROUND: Final = 2


class Chain:
    """One hook of a module, with ours in front of whatever else stands there.

    Args:
        place: the module.
        name: of the hook.
        take: told what the hook is told; whatever it raises is dropped.
        trouble: told of what it raised.
        aside: a hook that we do not stand in front of.
    """

    def __init__(
        self, place: Any, name: str, take: Callable[..., None], trouble: Trouble, aside: Any = None
    ) -> None:
        self._aside = aside
        self._trouble = trouble
        self._place = place
        self._name = name
        self._take = take
        self._next: Any = None
        self._first: Any = None
        self._inside = threading.local()
        # One and the same object for good, so that it is known again.
        self._ours = self._call

    def ensure(self) -> None:
        """Stand in front; what was set since comes behind us."""
        current = getattr(self._place, self._name)
        if current is not self._ours and current is not self._aside:
            self._next = current
            if self._first is None:
                self._first = current
            setattr(self._place, self._name, self._ours)

    def end(self) -> None:
        """Give the place back, where nobody stands in front of us."""
        if self._next is not None and getattr(self._place, self._name) is self._ours:
            setattr(self._place, self._name, self._next)
            self._next = self._first = None

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        depth = getattr(self._inside, "depth", 0)
        if depth:
            # A hook set later has called the one that it found, which was ours: go on with what was before us.
            return self._first(*args, **kwargs) if depth < _TIMES_AROUND and self._first is not None else None
        self._inside.depth = depth + 1
        try:
            try:
                self._take(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a hook for failures must not fail
                self._trouble(error)
            return None if self._next is None else self._next(*args, **kwargs)
        finally:
            self._inside.depth = depth


class Hooks:
    """All hooks of a process.

    Args:
        report: takes a log record for the current node, and drops it where there is none.
        trouble: counts what goes wrong with that.
    """

    def __init__(self, report: Report, trouble: Trouble) -> None:
        self._report = report
        self._trouble = trouble
        self.fatal: BaseException | None = None
        self._is_on = False
        self._chains = (
            Chain(sys, "excepthook", self._uncaught, trouble),
            Chain(threading, "excepthook", self._in_thread, trouble),
            Chain(sys, "unraisablehook", self._unraisable, trouble),
            # `logging.captureWarnings` logs them itself, and takes its hook away again without asking.
            Chain(warnings, "showwarning", self._warning, trouble, getattr(logging, "_showwarning", None)),
        )

    def ensure(self) -> None:
        """Stand in front of what is there now."""
        self._is_on = True
        for chain in self._chains:
            chain.ensure()

    def ensure_loop(self) -> None:
        """Stand in front of the running event loop's handler, where it has one of its own; the default one logs."""
        # Who has not imported asyncio has no loop, and its import takes 40 ms.
        asyncio = sys.modules.get("asyncio")
        loop = None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 - documented for frameworks
        handler = None if loop is None else loop.get_exception_handler()
        if loop is not None and handler is not None and not isinstance(handler, _LoopHandler):
            loop.set_exception_handler(_LoopHandler(self._in_loop, handler, self._trouble))

    def end(self) -> None:
        """Give the places back."""
        self._is_on = False
        for chain in self._chains:
            chain.end()

    def unhandled(self) -> BaseException | None:
        """Return what ends the program, if an exception that nobody caught does."""
        # The interpreter keeps it before it calls any hook, whoever's that is.
        if hasattr(sys, "ps1"):  # at a prompt it is only the last of many
            return None
        last = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        return self.fatal or (last if isinstance(last, BaseException) else None)

    def _tell(self, what: str, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._is_on or error is None or was_reported(error):
            return
        reason = cut_text(message_of(error).partition("\n")[0], MAX_REASON_CHARS)
        text = f"{what}: {type(error).__name__}" + (f": {reason}" if reason else "")
        self._report(_record(logging.ERROR, text, error, trace or error.__traceback__))

    def _uncaught(self, kind: Any, error: BaseException, trace: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread():
            self.fatal = error
        if not isinstance(error, KeyboardInterrupt):
            self._tell("uncaught exception", error, trace)

    def _in_thread(self, args: Any) -> None:
        if not isinstance(args.exc_value, SystemExit):
            name = "?" if args.thread is None else args.thread.name
            self._tell(f"uncaught exception in thread {name!r}", args.exc_value, args.exc_traceback)

    def _unraisable(self, args: Any) -> None:
        what = args.err_msg or "exception ignored in"
        name = getattr(args.object, "__qualname__", None) or type(args.object).__name__
        self._tell(f"{what} {name!r}".lower(), args.exc_value, args.exc_traceback)

    def _warning(
        self,
        message: Any,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        # To a given file it is not for the log (as `logging.captureWarnings` has it).
        if self._is_on and file is None:
            text = f"{category.__name__}: {message}"
            self._report(
                logging.LogRecord("py.warnings", logging.WARNING, filename, lineno, text, None, None)
            )

    def _in_loop(self, context: Mapping[str, Any]) -> None:
        error = context.get("exception")
        text = str(context.get("message") or "unhandled exception in an event loop")
        if isinstance(error, BaseException):
            self._tell(text, error, None)
        elif self._is_on:
            self._report(_record(logging.ERROR, text, None, None))


class _LoopHandler:
    """An event loop's exception handler with ours in front."""

    def __init__(
        self, take: Callable[[Mapping[str, Any]], None], behind: Callable[..., Any], trouble: Trouble
    ) -> None:
        self._trouble = trouble
        self._take = take
        self._behind = behind

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> Any:
        try:
            self._take(context)
        except Exception as error:  # noqa: BLE001 - as in Chain
            self._trouble(error)
        return self._behind(loop, context)


def _record(
    level: int, text: str, error: BaseException | None, trace: TracebackType | None
) -> logging.LogRecord:
    path, line = "", 0
    last = trace
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None:
        path, line = last.tb_frame.f_code.co_filename, last.tb_lineno
    info = None if error is None else (type(error), error, trace)
    # The text is data: no arguments, so that a percent sign in it stays one.
    return logging.LogRecord(LOGGER_NAME, level, path, line, text, None, info)
