"""Finds the traceback that a Python program left at the end of its stderr."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_HEADER: Final = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$")
_CHAIN: Final = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_EXCEPTION: Final = re.compile(r"^(?:  \| )?([^\W\d][\w.<>]*)(?:: (.*))?$")
_SYNTAX_ERRORS: Final = frozenset({"SyntaxError", "IndentationError", "TabError"})
_MAX_MESSAGE_LINES: Final = 20
"""More lines than this behind an exception are not its message: the program went on and printed other things."""

_FILE_LINE: Final = re.compile(r'^  File ".*", line \d+')


@dataclass(frozen=True, slots=True)
class FoundTraceback:
    """A traceback as it was printed.

    Attributes:
        error_type: the name of the last exception, as printed.
        message: its message; several lines when it was printed so.
        text: the whole, with the causes before it.
    """

    error_type: str
    message: str
    text: str


def traceback_of(lines: Sequence[str]) -> FoundTraceback | None:
    """Return the last Python traceback in `lines` when the lines end with it, else None.

    A few lines behind the exception's own count as part of its message, for a message may have many.
    """
    header = _last_header(lines)
    if header is None:
        return _syntax_error(lines)
    exception = _exception_line(lines, header + 1)
    if exception is None:
        return None
    return _found(lines, _chain_start(lines, header), exception)


def _last_header(lines: Sequence[str]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if _HEADER.match(lines[at])), None)


def _exception_line(lines: Sequence[str], start: int) -> int | None:
    """Return where the frames after a header end in an exception; None when something else comes first."""
    prefix = "  | " if start and lines[start - 1].startswith("  +") else ""
    for at in range(start, len(lines)):
        if not lines[at].startswith(prefix + " "):
            return at if at > start and _EXCEPTION.match(lines[at]) else None
    return None


def _chain_start(lines: Sequence[str], header: int) -> int:
    """Go back from a header over the exceptions that caused the one below it."""
    while True:
        marker = header - 2
        if marker < 1 or lines[marker].strip(" |") not in _CHAIN:
            return header
        earlier = _last_header(lines[:marker])
        if earlier is None:
            return header
        header = earlier


def _syntax_error(lines: Sequence[str]) -> FoundTraceback | None:
    """Find the headerless form in which the interpreter refuses the program itself."""
    for at in range(len(lines) - 1, 0, -1):
        matched = _EXCEPTION.match(lines[at])
        if matched and matched[1] in _SYNTAX_ERRORS:
            start = next((i for i in range(at - 1, max(-1, at - 5), -1) if _FILE_LINE.match(lines[i])), None)
            return None if start is None else _found(lines, start, at)
    return None


def _found(lines: Sequence[str], start: int, exception: int) -> FoundTraceback | None:
    matched = _EXCEPTION.match(lines[exception])
    if matched is None:
        return None
    is_group = lines[exception].startswith(" ")
    behind = [line for line in lines[exception + 1 :] if not (is_group and line.startswith(" "))]
    if len(behind) > _MAX_MESSAGE_LINES:
        return None
    message = "\n".join([matched[2] or "", *behind]).strip()
    return FoundTraceback(matched[1], message, "\n".join(lines[start:]).rstrip())
