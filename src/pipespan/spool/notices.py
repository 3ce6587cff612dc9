"""What we tell the person at the terminal: short lines on stderr, each kind at most once a minute."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Final

QUIET_S: Final = 60.0
"""The same kind of notice is not repeated before this time has passed."""


class Notices:
    """Counts troubles by kind and says each kind at most once a minute; never raises."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._said_at: dict[str, float] = {}

    def trouble(self, kind: str, message: str) -> None:
        """Count a trouble of `kind`, and say `message` when that kind was not heard for a minute."""
        try:
            self.counts[kind] += 1
            now = time.monotonic()
            if now - self._said_at.get(kind, -QUIET_S) >= QUIET_S:
                self._said_at[kind] = now
                self.say(message)
        except Exception:  # noqa: BLE001, S110 - a notice about trouble must not make more of it
            pass  # what it is about is counted above, and by whoever lost something

    def is_fresh(self, kind: str) -> bool:
        """Tell whether a trouble of `kind` was said within the last minute."""
        return time.monotonic() - self._said_at.get(kind, -QUIET_S) < QUIET_S

    def say(self, message: str) -> None:
        """Print one line on stderr."""
        try:
            sys.stderr.write(f"pipespan: {message}\n")
        except Exception:  # noqa: BLE001, S110 - stderr may be closed, or gone at interpreter exit
            pass  # there is nobody to tell; `troubles` of `pipespan.health()` has the count
