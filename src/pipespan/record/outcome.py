"""How a scope ended, read from what left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipespan.model.attributes import cut_text, plain_text
from pipespan.model.status import Status

MAX_MESSAGE_CHARS: Final = 2000
"""Of an exception's message so much goes into the node's row; the log record has all of it."""

# By name: who has not imported asyncio cannot have got its exception, and its import takes 40 ms.
_CANCELLED: Final = frozenset(
    {
        ("asyncio.exceptions", "CancelledError"),
        ("concurrent.futures._base", "CancelledError"),
        ("trio", "Cancelled"),
    }
)


def status_of(error: BaseException | None) -> Status:
    """Return the status of a scope that `error` left, None standing for its end."""
    if error is None:
        return "completed"
    if isinstance(error, SystemExit):
        return "completed" if error.code in (None, 0) else "failed"
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return "cancelled"
    kinds = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    return "failed" if kinds.isdisjoint(_CANCELLED) else "cancelled"


def error_type_of(error: BaseException) -> str:
    """Return the qualified name of an exception's class, built-in ones bare (as OTel's `exception.type`)."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException, hide: Callable[[str], str] = str) -> str:
    """Return an exception's message, bounded, its secrets hidden by `hide` before it is cut; never raises."""
    try:
        text = hide(str(error))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = ""
    return plain_text(cut_text(text, MAX_MESSAGE_CHARS))
