"""How a process comes and goes: forks, and the end of `multiprocessing` children, which run no exit functions."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

_FINALIZE_PRIORITY: Final = 100


def call_after_fork(method: Callable[[], Any]) -> None:
    """Call a bound method in children of forks, as long as its object lives."""
    if not hasattr(os, "register_at_fork"):
        return
    # Hooks cannot be taken back, so they must not keep the object alive.
    reference = weakref.WeakMethod(method)

    def after_in_child() -> None:
        found = reference()
        if found is not None:
            found()

    os.register_at_fork(after_in_child=after_in_child)


def is_worker_process() -> bool:
    """Tell whether this is a child of `multiprocessing`."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def call_at_child_exit(function: Callable[[], None]) -> None:
    """Arrange the call in a `multiprocessing` child, which ends by `os._exit` and runs no atexit functions."""
    if is_worker_process():
        from multiprocessing.util import Finalize  # noqa: PLC0415 - loaded already in such a child

        Finalize(None, function, exitpriority=_FINALIZE_PRIORITY)
