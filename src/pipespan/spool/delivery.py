"""Delivers one stream to a sink: exactly once, in order, past rows that the database refuses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipespan.errors import OffsetError, RefusedError
from pipespan.spool.batches import build_batch, halves
from pipespan.spool.layout import LANES, REJECTS, Lane
from pipespan.spool.notices import Notices
from pipespan.spool.private import open_private
from pipespan.spool.reader import Chunk, drop_shipped, read_chunk
from pipespan.spool.tail import Tail
from pipespan.store.base import Fetched, Sink, StreamKey


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
        tails: read the lanes of a stream that this process writes; those of others are read from their files.
        is_new: nothing of the stream has been shipped, as far as is known; the ledger is not asked for where it stands.
    """

    folder: Path
    batch_bytes: int
    notices: Notices
    acknowledged: Callable[[Lane, int], None]
    tally: Tally = field(default_factory=Tally)
    tails: Mapping[Lane, Tail] = field(default_factory=dict)
    is_new: bool = False
    _offsets: dict[Lane, int] = field(default_factory=dict)
    _rejected: dict[Lane, int] = field(default_factory=dict)

    def run(
        self, sink: Sink, *, is_ended: bool = False, may_go_on: Callable[[], bool] = lambda: True
    ) -> bool:
        """Ship what is there now; return whether nothing is left.

        Args:
            sink: where to; errors of the store pass through (`Sink.ship`).
            is_ended: nobody writes to the stream any more.
            may_go_on: asked between two batches.

        Raises:
            StoreError: the store cannot take it now; what was acknowledged before stays so.
            OSError: a segment cannot be read.
        """
        while True:
            # The last chunk of each lane goes along with the first of the next.
            chunks: list[tuple[Lane, Chunk]] = []
            ends: dict[Lane, int] = {}
            for lane in LANES:
                while (chunk := self._read(sink, lane, is_ended=is_ended)) is not None and not chunk.is_last:
                    self._ship_chunks(sink, [*chunks, (lane, chunk)])
                    chunks = []
                    if not may_go_on():
                        return False
                if chunk is not None:
                    chunks.append((lane, chunk))
                    ends[lane] = chunk.end_bytes
            self._ship_chunks(sink, chunks)
            # Elsewhere where the ledger stood elsewhere.
            if all(self._offsets[lane] == end for lane, end in ends.items()):
                return True
            if not may_go_on():
                return False

    def _read(self, sink: Sink, lane: Lane, *, is_ended: bool) -> Chunk | None:
        if lane not in self._offsets:
            self._offsets[lane] = 0 if self.is_new else sink.offset(self._key(lane))
        start, tail = self._offsets[lane], self.tails.get(lane)
        if tail is not None:
            return tail.read(start, self.batch_bytes)
        return read_chunk(self.folder, lane, start, limit_bytes=self.batch_bytes, is_ended=is_ended)

    @property
    def offsets(self) -> Mapping[str, int]:
        """Where the ledger of each lane stands, as far as is known, once the stream was shipped."""
        return {str(lane): offset for lane, offset in self._offsets.items()}

    @property
    def shipped_bytes(self) -> int:
        """How much of the stream was shipped, all lanes together."""
        return sum(self._offsets.values())

    def note_fetched(self, fetched: Fetched, rows: int) -> None:
        """Go on from where somebody else has shipped the stream to: `rows` more than was noted before."""
        self.tally.rows += rows
        self.tally.slowest_s = max(self.tally.slowest_s, fetched.slowest_s)
        for lane, stood in list(self._offsets.items()):
            self._acknowledge(lane, max(stood, fetched.offsets[lane]))
            tail = self.tails.get(lane)
            if tail is None or not tail.is_alone(stood):
                drop_shipped(self.folder, lane, self._offsets[lane])

    def close(self) -> None:
        """Close what is open for reading."""
        for tail in self.tails.values():
            tail.close()

    def _key(self, lane: Lane) -> StreamKey:
        return StreamKey(self.folder.name, lane)

    def _ship_chunks(self, sink: Sink, chunks: Sequence[tuple[Lane, Chunk]]) -> None:
        """Ship a chunk of each lane, in one transaction where that can be: it costs hardly more than for one."""
        if len(chunks) > 1 and self._ship_together(sink, chunks):
            return
        for lane, chunk in chunks:
            self._ship_chunk(sink, lane, chunk)

    def _ship_together(self, sink: Sink, chunks: Sequence[tuple[Lane, Chunk]]) -> bool:
        """Return whether the chunks were shipped; where something about one of them is amiss, nothing was."""
        if any(chunk.skipped_bytes for _, chunk in chunks):
            return False
        if sum(len(chunk.data) for _, chunk in chunks) > self.batch_bytes:
            return False
        pieces: list[tuple[Lane, int, bytes]] = [
            (lane, chunk.end_bytes, chunk.data) for lane, chunk in chunks
        ]
        try:
            self._ship(sink, *pieces)
        except (OffsetError, RefusedError):
            return False
        for lane, chunk in chunks:
            self._drop_shipped(lane, chunk)
        return True

    def _ship_chunk(self, sink: Sink, lane: Lane, chunk: Chunk) -> None:
        start = self._offsets[lane]
        self.tally.skipped_bytes += chunk.skipped_bytes
        data_start = chunk.end_bytes - len(chunk.data)
        try:
            if data_start > start and chunk.data:
                # The gap by itself, so that halves start where they stand.
                self._ship(sink, (lane, data_start, b""))
            self._ship_or_part(sink, lane, chunk.end_bytes, chunk.data)
        except OffsetError as error:
            # The acknowledgement of an earlier batch was lost; the ledger knows what has arrived.
            stood, stands = self._offsets[lane] - data_start, error.shipped_bytes - data_start
            is_passed_over = self._rejected.get(lane) == error.shipped_bytes
            self.tally.rows += chunk.data[max(stood, 0) : max(stands, 0)].count(b"\n") - is_passed_over
            self._acknowledge(lane, error.shipped_bytes)
        self._drop_shipped(lane, chunk)

    def _drop_shipped(self, lane: Lane, chunk: Chunk) -> None:
        if not chunk.is_alone:
            drop_shipped(self.folder, lane, self._offsets[lane])

    def _ship_or_part(self, sink: Sink, lane: Lane, end: int, data: bytes) -> None:
        """Ship `data`; find refused rows by bisection, so that they never block the rest."""
        try:
            self._ship(sink, (lane, end, data))
        except RefusedError as error:
            cut = halves(end - len(data), data)
            if cut is None:
                self._reject(lane, end, data, error)
                self._ship(sink, (lane, end, b""))
                return
            for start, half in cut:
                self._ship_or_part(sink, lane, start + len(half), half)

    def _ship(self, sink: Sink, *pieces: tuple[Lane, int, bytes]) -> None:
        """Ship the bytes of each lane, which end at the offset beside them."""
        batches = [build_batch(self._key(lane), self._offsets[lane], end, data) for lane, end, data in pieces]
        started_s = time.monotonic()
        sink.ship(*batches)
        self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - started_s)
        self.tally.rows += sum(batch.row_count for batch in batches)
        for lane, end, _ in pieces:
            self._acknowledge(lane, end)

    def _acknowledge(self, lane: Lane, offset_bytes: int) -> None:
        self._offsets[lane] = offset_bytes
        self.acknowledged(lane, offset_bytes)

    def _reject(self, lane: Lane, end: int, line: bytes, error: RefusedError) -> None:
        if self._rejected.get(lane) == end:
            return  # the store went away before it heard that the row is passed over
        self._rejected[lane] = end
        self.tally.rejected += 1
        with open_private(self.folder / REJECTS, os.O_APPEND) as file:
            file.write(f"# {error}\n".encode() + line)
        self.notices.trouble(
            "rejected", f"the database refuses a row ({error}); it is kept in {str(self.folder / REJECTS)!r}"
        )
