"""The log record of an exception that left a scope: one for each exception, at the innermost scope."""

from __future__ import annotations

import logging
from typing import Final

LOGGER_NAME: Final = "pipespan"
_REPORTED: Final = "_pipespan_reported"


def failure_record(name: str, level: str, error: BaseException) -> logging.LogRecord | None:
    """Return the record to log for `error`, None when a scope further in has done so.

    It goes to pipespan's own handler only: the exception travels on, and whoever catches it prints it.
    """
    try:
        if getattr(error, _REPORTED, False):
            return None
        setattr(error, _REPORTED, True)
    except Exception:  # noqa: BLE001, S110 - an exception with slots, or with a mind of its own
        pass
    message = f"{level} {name!r} failed: {type(error).__name__}"
    return logging.LogRecord(
        LOGGER_NAME, logging.ERROR, "", 0, message, None, (type(error), error, error.__traceback__)
    )
