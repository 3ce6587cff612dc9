"""The log record of an exception that left a scope: one for each exception, at the innermost scope."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Final

from pipespan.model.attributes import cut_text
from pipespan.record.outcome import message_of

LOGGER_NAME: Final = "pipespan"
MAX_REASON_CHARS: Final = 200
"""Of the exception's message so much stands in the record's own; the traceback has all of it."""

_REPORTED: Final = "_pipespan_reported"


def failure_record(name: str, level: str, error: BaseException) -> logging.LogRecord | None:
    """Return the record to log for `error`, None when a scope further in has done so.

    It goes to pipespan's own handler only: the exception travels on, and whoever catches it prints it.
    """
    if was_reported(error):
        return None
    reason = cut_text(message_of(error).partition("\n")[0], MAX_REASON_CHARS)
    message = f"{level} {name!r} failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    path, line, function = _origin(error.__traceback__)
    return logging.LogRecord(
        LOGGER_NAME,
        logging.ERROR,
        path,
        line,
        message,
        None,
        (type(error), error, error.__traceback__),
        function,
    )


def was_reported(error: BaseException) -> bool:
    """Tell whether a log record tells of `error` already; if not, one is about to, and it counts as told now."""
    try:
        if getattr(error, _REPORTED, False):
            return True
        setattr(error, _REPORTED, True)
    except Exception:  # noqa: BLE001, S110 - an exception with slots, or with a mind of its own
        pass  # not counted: nothing is lost, it is told once more by each scope that it leaves
    return False


def mark_reported(error: BaseException) -> None:
    """Note that a log record tells of `error` already, so that its scopes add none."""
    setattr(error, _REPORTED, True)


def _origin(traceback: TracebackType | None) -> tuple[str, int, str | None]:
    if traceback is None:
        return "", 0, None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return code.co_filename, traceback.tb_lineno, code.co_name
