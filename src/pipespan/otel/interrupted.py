"""Tells a record that came in between, by a signal handler or a destructor, from one of our own making.

Python runs both in the midst of whatever the thread does, our handler included. What they log is the program's; what is
logged by something that our handler calls is not taken, or it would go round in circles.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from types import CodeType, FrameType
from typing import Any, Final

MAX_FRAMES: Final = 100
"""So far up it is looked for who came in between."""

_DESTRUCTOR: Final = "__del__"

_getsignal: Final = importlib.import_module("_signal").getsignal
"""That of `signal` makes enums of what it finds, which for all signals takes as long as several log records."""


def came_in_between(own: CodeType) -> bool:
    """Tell whether a signal handler or a destructor is what called, since the function of `own` was entered.

    Asked only where a record comes while another is being taken in.
    """
    # Only the main thread is interrupted by signals.
    is_main = threading.current_thread() is threading.main_thread()
    handlers = _handler_codes() if is_main else frozenset[CodeType]()
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - who called us is asked for, and nothing else tells
    for _ in range(MAX_FRAMES):
        if frame is None or frame.f_code is own:
            return False
        if frame.f_code.co_name == _DESTRUCTOR or frame.f_code in handlers:
            return True
        frame = frame.f_back
    return False


def _handler_codes() -> frozenset[CodeType]:
    handlers = [_getsignal(number) for number in range(1, signal.NSIG)]
    codes = [
        _code_of(handler) for handler in handlers if handler is not None and not isinstance(handler, int)
    ]
    return frozenset(code for code in codes if code is not None)


def _code_of(handler: Any) -> CodeType | None:
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    code = getattr(handler, "__code__", None)
    if code is None:  # an object that is called by its class's method
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
