"""What errors of one cause have in common, over runs, machines and edits elsewhere in the file.

The same definition stands in SQL (`sql/migrations`, `pipespan_fingerprint_v1`); a property test holds both against
each other. Only what Postgres and Python read alike is used in the patterns: explicit ASCII ranges, nothing lazy.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from pipespan.model.status import ERROR_LEVELS, LogLevel

TRACEBACK_CHARS: Final = 65_536
"""So much of a traceback is looked at, from its end: there the error is."""

HEADLINE_CHARS: Final = 1_000
"""So much of the first line of a message is looked at."""

FINGERPRINT_CHARS: Final = 16

_FRAME: Final = re.compile(r'^[ |+-]*File "([^"\n]*)", line [0-9]+(?:, in ([^\n]*))?$', re.MULTILINE)
_LAST_ELEMENT: Final = re.compile(r"[^/]*/__(?:init|main)__[.]py\Z|[^/]*\Z")

_OF_FILES: Final = (
    (re.compile(r"\Atmp[a-z0-9_]{8}"), "tmp"),
    (re.compile(r"[0-9a-f]{12,}"), "0"),
    (re.compile(r"[0-9]+"), "0"),
)
_OF_MESSAGES: Final = (
    (re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"), "<id>"),
    (re.compile(r'"[^"]*"'), "<text>"),
    (re.compile(r"(?<![0-9A-Za-z])'[^']*'(?![0-9A-Za-z])"), "<text>"),
    (re.compile(r"(?<![0-9A-Za-z])0[xX][0-9a-fA-F]+"), "<hex>"),
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{8,}(?![0-9A-Za-z])"), "<hex>"),
    (re.compile(r"[-+]?[0-9]+(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?"), "0"),
    (re.compile(r"[ \t\r\f\v]+"), " "),
)


def fingerprint(error_type: str | None, message: str, traceback: str | None) -> str:
    """Return 16 hex digits that are equal for errors of one cause.

    With a traceback they stand for the type and the frames, each as file and function; a frame that occurs again and
    again counts once, where it stands last. Without frames: for the type and the first line of the message, without
    numbers, ids and quoted text.

    Args:
        error_type: class of the exception, or the level of a record without one.
        message: of the record.
        traceback: as the interpreter formats it; None without an exception.
    """
    frames = _frames(traceback or "")
    told = "\n".join(frames) if frames else _headline(message)
    text = f"{error_type or ''}\n{told}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_CHARS]


def fingerprint_of_log(
    level: LogLevel, error_type: str | None, message: str, traceback: str | None
) -> str | None:
    """Return the fingerprint that a log record is stored with, None below ERROR."""
    if level not in ERROR_LEVELS:
        return None
    return fingerprint(level if error_type is None else error_type, message, traceback)


def _frames(traceback: str) -> list[str]:
    frames: dict[str, None] = {}
    for match in _FRAME.finditer(traceback[-TRACEBACK_CHARS:]):
        frame = f"{_file_name(match[1])}:{match[2] or ''}"
        frames.pop(frame, None)
        frames[frame] = None
    return list(frames)


def _file_name(path: str) -> str:
    found = _LAST_ELEMENT.search(path.replace("\\", "/"))
    return _replaced(found[0] if found is not None else path, _OF_FILES)


def _headline(message: str) -> str:
    line = message.lstrip(" \t\r\n").split("\n", 1)[0]
    return _replaced(line[:HEADLINE_CHARS], _OF_MESSAGES).strip(" ")


def _replaced(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
