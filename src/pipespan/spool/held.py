"""Rows that no folder takes: held in memory within a bound, and delivered from there while the disk is away."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipespan.errors import OffsetError, RefusedError
from pipespan.spool.batches import build_batch, halves
from pipespan.store.base import Sink, StreamKey

if TYPE_CHECKING:
    from pipespan.spool.delivery import Tally
    from pipespan.spool.layout import Lane
    from pipespan.spool.notices import Notices

RING_BYTES: Final = 8 << 20
"""What is held in memory while no folder can be written to; beyond it the oldest lines go, counted, mild ones first."""

TAKE_BYTES: Final = 1 << 20
"""So much of it is on its way to the database at a time."""


class HeldRows:
    """Lines in memory; the spool's writer calls it under its lock, signal handlers may come in between."""

    def __init__(self) -> None:
        self.keep: deque[bytes] = deque()
        self.bulk: deque[bytes] = deque()
        self.size_bytes = 0
        # What is on its way to the database from here.
        self.taken = b""

    def __len__(self) -> int:
        return len(self.keep) + len(self.bulk) + self.taken.count(b"\n")

    def add(self, lane: Lane, line: bytes) -> int:
        """Hold `line`; return how many lines had to go for it."""
        (self.keep if lane == "keep" else self.bulk).append(line)
        self.size_bytes += len(line)
        gone = 0
        while self.size_bytes > RING_BYTES and (oldest := self._pop(self.bulk) or self._pop(self.keep)):
            self.size_bytes -= len(oldest)
            gone += 1
        return gone

    def drain(self, append: Callable[[Lane, bytes], None]) -> None:
        """Hand each line to `append`, what others refer to first; one that it fails for stays, and those behind."""
        lanes: tuple[tuple[Lane, deque[bytes]], ...] = (("keep", self.keep), ("bulk", self.bulk))
        for lane, lines in lanes:
            # Taken out first: a signal handler that logs meanwhile goes on with the next one.
            while (line := self._pop(lines)) is not None:
                try:
                    append(lane, line)
                except OSError:
                    lines.appendleft(line)
                    raise
                self.size_bytes -= len(line)

    def take(self) -> bytes:
        """Return what is on its way; when there is none, put the oldest lines there."""
        if not self.taken:
            lines: list[bytes] = []
            room_bytes = TAKE_BYTES
            while room_bytes > 0 and (line := self._pop(self.keep) or self._pop(self.bulk)) is not None:
                lines.append(line)
                room_bytes -= len(line)
            self.taken = b"".join(lines)
        return self.taken

    def arrived(self) -> None:
        """Let go of what was on its way."""
        self.size_bytes -= len(self.taken)
        self.taken = b""

    @staticmethod
    def _pop(lines: deque[bytes]) -> bytes | None:
        try:
            return lines.popleft()
        except IndexError:
            return None


class HeldDelivery:
    """Delivers held rows, exactly once: as a stream that no file stands for.

    Args:
        take: gives the bytes that are on their way, the same until they have arrived.
        arrived: called when they have.
        tally: counts what is delivered.
        notices: where rows are told that the database refuses.
    """

    def __init__(
        self, take: Callable[[], bytes], arrived: Callable[[], None], tally: Tally, notices: Notices
    ) -> None:
        self._take = take
        self._arrived = arrived
        self._tally = tally
        self._notices = notices
        self._key = StreamKey(str(uuid.uuid4()), "keep")
        # Where the bytes that are on their way begin, and how far the ledger is.
        self._start_bytes = 0
        self._shipped_bytes = 0

    def run(self, sink: Sink, may_go_on: Callable[[], bool]) -> None:
        """Ship what is held; errors of the store pass through."""
        while data := self._take():
            self._ship(sink, self._start_bytes, data)
            self._start_bytes += len(data)
            self._arrived()
            if not may_go_on():
                return

    def _ship(self, sink: Sink, start: int, data: bytes) -> None:
        end = start + len(data)
        if end <= self._shipped_bytes:
            return
        try:
            batch = build_batch(self._key, self._shipped_bytes, end, data[self._shipped_bytes - start :])
            sink.ship(batch)
        except OffsetError as error:
            # The acknowledgement of an earlier try was lost; the ledger knows what has arrived.
            known, self._shipped_bytes = self._shipped_bytes, error.shipped_bytes
            self._tally.rows += data[known - start : self._shipped_bytes - start].count(b"\n")
            self._ship(sink, start, data)
            return
        except RefusedError as error:
            self._part(sink, start, data, error)
            return
        self._tally.rows += data[self._shipped_bytes - start :].count(b"\n")
        self._shipped_bytes = end

    def _part(self, sink: Sink, start: int, data: bytes, error: RefusedError) -> None:
        """Find the row that is refused by bisection; there is no file to keep it in."""
        left = data[self._shipped_bytes - start :]
        cut = halves(self._shipped_bytes, left)
        if cut is not None:
            for half_start, half in cut:
                self._ship(sink, half_start, half)
            return
        self._tally.rejected += 1
        self._notices.trouble("rejected", f"the database refuses a row ({error}); no folder can keep it")
        end = start + len(data)
        sink.ship(build_batch(self._key, self._shipped_bytes, end, b""))
        self._shipped_bytes = end
