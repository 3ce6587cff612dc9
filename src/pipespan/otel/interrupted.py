"""Tells a record that came in between, by a signal handler or a destructor, from one of our own making.

Python runs both in the midst of whatever the thread does, our handler included. What they log is the program's; what is
logged by something that our handler calls is not taken, or it would go round in circles.
"""

from __future__ import annotations

import signal
import sys
import weakref
from types import CodeType, FrameType
from typing import Any, Final

MAX_FRAMES: Final = 100
"""So far up it is looked for who came in between."""

_DESTRUCTOR: Final = "__del__"


def came_in_between(own: CodeType) -> bool:
    """Tell whether a signal handler or a destructor is what called, since the function of `own` was entered.

    Asked only where a record comes while another is being taken in.
    """
    handlers = _handler_codes()
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - who called us is asked for, and nothing else tells
    for _ in range(MAX_FRAMES):
        if frame is None or frame.f_code is own:
            return False
        if frame.f_code.co_name == _DESTRUCTOR or frame.f_code in handlers:
            return True
        frame = frame.f_back
    return False


def _handler_codes() -> set[CodeType]:
    found: set[CodeType] = {weakref.finalize.__call__.__code__}
    for number in signal.valid_signals():
        code = getattr(_function_of(signal.getsignal(number)), "__code__", None)
        if isinstance(code, CodeType):
            found.add(code)
    return found


def _function_of(handler: Any) -> Any:
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    return handler if hasattr(handler, "__code__") else getattr(type(handler), "__call__", None)
