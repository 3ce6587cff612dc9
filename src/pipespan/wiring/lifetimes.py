"""The end of `multiprocessing` children, which run no exit functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

_FINALIZE_PRIORITY: Final = 100


def is_worker_process() -> bool:
    """Tell whether this is a child of `multiprocessing`."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def call_at_child_exit(function: Callable[[], None]) -> None:
    """Arrange the call in a `multiprocessing` child, which ends by `os._exit` and runs no atexit functions."""
    if is_worker_process():
        from multiprocessing.util import Finalize  # noqa: PLC0415 - loaded already in such a child

        Finalize(None, function, exitpriority=_FINALIZE_PRIORITY)
