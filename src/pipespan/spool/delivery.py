"""Delivers one stream to a sink: exactly once, in order, past rows that the database refuses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipespan.errors import OffsetError, RefusedError
from pipespan.spool.batches import build_batch, halves
from pipespan.spool.layout import LANES, REJECTS, Lane, open_private
from pipespan.spool.notices import Notices
from pipespan.spool.reader import drop_shipped, read_chunk
from pipespan.store.base import Sink, StreamKey


@dataclass(slots=True)
class Tally:
    """What was delivered so far."""

    rows: int = 0
    rejected: int = 0
    skipped_bytes: int = 0
    slowest_s: float = 0.0


@dataclass(slots=True)
class Delivery:
    """The delivery of one stream, which may be its own process's or an orphan.

    Args:
        folder: the stream's folder.
        batch_bytes: how much goes into one transaction at most.
        notices: where rejected rows are told.
        acknowledged: called with (lane, offset) after each acknowledgement.
    """

    folder: Path
    batch_bytes: int
    notices: Notices
    acknowledged: Callable[[Lane, int], None]
    tally: Tally = field(default_factory=Tally)
    _offsets: dict[Lane, int] = field(default_factory=dict)
    _rejected: tuple[Lane, int] | None = None

    def run(
        self,
        sink: Sink,
        *,
        lanes: Sequence[Lane] = LANES,
        is_ended: bool = False,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Ship what is there now; return whether nothing is left.

        Args:
            sink: where to; errors of the store pass through (`Sink.ship`).
            lanes: which lanes, in the order of `LANES`.
            is_ended: nobody writes to the stream any more.
            may_go_on: asked between two batches.

        Raises:
            StoreError: the store cannot take it now; what was acknowledged before stays so.
            OSError: a segment cannot be read.
        """
        for lane in lanes:
            if lane not in self._offsets:
                self._offsets[lane] = sink.offset(self._key(lane))
            while self._ship_chunk(sink, lane, is_ended=is_ended):
                if not may_go_on():
                    return False
        return True

    def _key(self, lane: Lane) -> StreamKey:
        return StreamKey(self.folder.name, lane)

    def _ship_chunk(self, sink: Sink, lane: Lane, *, is_ended: bool) -> bool:
        start = self._offsets[lane]
        chunk = read_chunk(self.folder, lane, start, limit_bytes=self.batch_bytes, is_ended=is_ended)
        if chunk is None:
            return False
        self.tally.skipped_bytes += chunk.skipped_bytes
        data_start = chunk.end_bytes - len(chunk.data)
        try:
            if data_start > start and chunk.data:
                # The gap by itself, so that halves start where they stand.
                self._ship(sink, lane, data_start, b"")
            self._ship_or_part(sink, lane, chunk.end_bytes, chunk.data)
        except OffsetError as error:
            # The acknowledgement of an earlier batch was lost; the ledger knows what has arrived.
            stood, stands = self._offsets[lane] - data_start, error.shipped_bytes - data_start
            is_passed_over = self._rejected == (lane, error.shipped_bytes)
            self.tally.rows += chunk.data[max(stood, 0) : max(stands, 0)].count(b"\n") - is_passed_over
            self._acknowledge(lane, error.shipped_bytes)
        drop_shipped(self.folder, lane, self._offsets[lane])
        return True

    def _ship_or_part(self, sink: Sink, lane: Lane, end: int, data: bytes) -> None:
        """Ship `data`; find refused rows by bisection, so that they never block the rest."""
        try:
            self._ship(sink, lane, end, data)
        except RefusedError as error:
            cut = halves(end - len(data), data)
            if cut is None:
                self._reject(lane, end, data, error)
                self._ship(sink, lane, end, b"")
                return
            for start, half in cut:
                self._ship_or_part(sink, lane, start + len(half), half)

    def _ship(self, sink: Sink, lane: Lane, end: int, data: bytes) -> None:
        batch = build_batch(self._key(lane), self._offsets[lane], end, data)
        started_s = time.monotonic()
        sink.ship(batch)
        self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - started_s)
        self.tally.rows += sum(len(lines) for lines in batch.lines.values())
        self._acknowledge(lane, end)

    def _acknowledge(self, lane: Lane, offset_bytes: int) -> None:
        self._offsets[lane] = offset_bytes
        self.acknowledged(lane, offset_bytes)

    def _reject(self, lane: Lane, end: int, line: bytes, error: RefusedError) -> None:
        if self._rejected == (lane, end):
            return  # the store went away before it heard that the row is passed over
        self._rejected = (lane, end)
        self.tally.rejected += 1
        with open_private(self.folder / REJECTS, os.O_APPEND) as file:
            file.write(f"# {error}\n".encode() + line)
        self.notices.trouble(
            "rejected", f"the database refuses a row ({error}); it is kept in {str(self.folder / REJECTS)!r}"
        )
