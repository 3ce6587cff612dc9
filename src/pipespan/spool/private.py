"""Folders and files that nobody but this user may look into: what stands in them may be anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def open_private(path: Path, flags: int) -> BinaryIO:
    """Open a file for writing, created when missing and readable by the user alone.

    Args:
        path: of the file.
        flags: `os.O_TRUNC` or `os.O_APPEND`.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    return os.fdopen(fd, "wb")


def make_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it, readable by the user alone.

    Raises:
        OSError: it cannot be created.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=FOLDER_MODE, exist_ok=True)
