"""A stream that somebody else ships, as long as little is written to it: who is well need not ship by itself."""

from __future__ import annotations

from typing import Any, Final

from pipespan.spool.delivery import Delivery
from pipespan.store.base import Fetcher

CALM_BYTES: Final = 1 << 16
"""Who shipped more than this in a round does so by himself in the next one, too."""


class Handover:
    """Tells who ships a stream, its own process or a `Fetcher`, and has the two take turns.

    Args:
        interval_s: pause between two looks of the other.

    Attributes:
        is_on: the other ships the stream.
        late_s: how late the other's look was at the last one of ours; 0 while the process ships by itself.
    """

    def __init__(self, interval_s: float) -> None:
        self.is_on = False
        self.late_s = 0.0
        self._interval_s = interval_s
        self._stood_bytes = 0
        self._rows = 0

    def begin(self, sink: Any, delivery: Delivery) -> None:
        """Leave the stream of `delivery` to `sink` after a round that went well, if that fetches, and little came."""
        stood_bytes, self._stood_bytes = self._stood_bytes, delivery.shipped_bytes
        is_calm = bool(delivery.offsets) and self._stood_bytes - stood_bytes <= CALM_BYTES
        if is_calm and hasattr(sink, "fetch"):
            fetcher: Fetcher = sink
            self.is_on = fetcher.fetch(str(delivery.folder), delivery.offsets, self._interval_s)
            self._rows = 0

    def stop(self) -> None:
        """The stream, or the way to the other, is given up."""
        self.is_on, self.late_s = False, 0.0

    def finish(self, sink: Any) -> bool:
        """Leave the rest to the other, whoever waits for this process's end; return whether it will be done."""
        fetcher: Fetcher = sink
        self.is_on = not fetcher.finish()
        return not self.is_on

    def hurry(self, sink: Any) -> None:
        """Have the other look now."""
        fetcher: Fetcher = sink
        fetcher.hurry()

    def look(self, sink: Any, delivery: Delivery, *, is_last: bool) -> None:
        """Note in `delivery` how far the other has come, and take the stream back if that `is_last`."""
        fetcher: Fetcher = sink
        told = fetcher.stop_fetching() if is_last else fetcher.fetched()
        self.is_on = told is not None and not told.is_over and not is_last
        self.late_s = told.late_s if told is not None and self.is_on else 0.0
        if told is not None:
            delivery.note_fetched(told, told.rows - self._rows)
            self._rows = told.rows
            self._stood_bytes = delivery.shipped_bytes
