"""How the courier's socket is named: the kernel takes short names alone, and folders may be deep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_NAME_BYTES: Final = 100
"""108 bytes are taken on Linux, 104 elsewhere, the final zero included."""


def has_name(path: Path) -> bool:
    """Tell whether a socket can stand there."""
    return len(os.fsencode(path)) <= MAX_NAME_BYTES or (
        sys.platform == "linux" and len(os.fsencode(path.name)) <= MAX_NAME_BYTES // 2
    )


@contextmanager
def name_of(path: Path) -> Iterator[str]:
    """Give a name for `path` that is short enough, good while the block runs.

    Raises:
        OSError: its folder cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_NAME_BYTES or sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
