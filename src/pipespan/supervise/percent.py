"""How far a progress bar is that a command draws."""

from __future__ import annotations

import re
from typing import Final

_PERCENT: Final = re.compile(r"(?<![\w.,%-])(\d{1,3})(?:[.,]\d+)?\s?%(?!\w)")
_REDRAWN: Final = re.compile(rb"\r(?!\n)")


def percent_of(text: str) -> int | None:
    """Return the percentage that a line shows, rounded down; None when it shows none, or several."""
    found = _PERCENT.findall(text)
    if len(found) != 1:
        return None
    percent = int(found[0])
    return percent if percent <= 100 else None


def is_redrawn(data: bytes) -> bool:
    """Tell whether output goes back to the start of a line, as bars do and mere talk of percentages does not."""
    return _REDRAWN.search(data) is not None
