"""The reading end of a lane: whole lines from any offset, over segment borders, gaps and torn ends."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from pipespan.spool.layout import Lane, Segment, segments

MAX_LINE_BYTES: Final = 64 << 20
"""No line is longer: every column is bounded (`pipespan.model.attributes`)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a lane.

    Attributes:
        start_bytes: the offset that was asked for.
        end_bytes: where to go on; more than `len(data)` further where bytes are gone or torn.
        data: the lines, the last one ended too.
        skipped_bytes: how many bytes between the two offsets are not in `data`.
    """

    start_bytes: int
    end_bytes: int
    data: bytes
    skipped_bytes: int = 0


def read_chunk(
    folder: Path, lane: Lane, start_bytes: int, *, limit_bytes: int, is_ended: bool
) -> Chunk | None:
    """Return lines of `lane` from `start_bytes` on, or None when there is nothing to read now.

    Args:
        folder: the stream's folder.
        lane: which lane.
        start_bytes: offset in the lane.
        limit_bytes: read about so much; a single line that is longer is read whole.
        is_ended: nobody writes to the stream any more, so a last line without an end is torn and skipped.

    Raises:
        OSError: a segment cannot be read.
    """
    found = segments(folder, lane)
    for index, segment in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        if following is not None and following.start_bytes <= start_bytes:
            continue
        start = max(start_bytes, segment.start_bytes)
        chunk = _read_segment(segment, start, limit_bytes, is_closed=is_ended or following is not None)
        if chunk is None:
            if following is None:
                break
            continue
        return Chunk(
            start_bytes, chunk.end_bytes, chunk.data, chunk.end_bytes - start_bytes - len(chunk.data)
        )
    return None


def _read_segment(segment: Segment, start_bytes: int, limit_bytes: int, *, is_closed: bool) -> Chunk | None:
    with segment.path.open("rb") as file:
        file.seek(start_bytes - segment.start_bytes)
        data = file.read(limit_bytes)
        while data and (end := data.rfind(b"\n")) < 0 and len(data) < MAX_LINE_BYTES:
            more = file.read(limit_bytes)
            if not more:
                break
            data += more
    if not data:
        return None
    end = data.rfind(b"\n") + 1
    if end:
        return Chunk(start_bytes, start_bytes + end, data[:end])
    if is_closed:  # a process was killed in the middle of a write
        return Chunk(start_bytes, start_bytes + len(data), b"")
    return None


def drop_shipped(folder: Path, lane: Lane, shipped_bytes: int) -> None:
    """Remove the closed segments of `lane` that end at or before `shipped_bytes`; never raises."""
    found = segments(folder, lane)
    for segment, following in pairwise(found):
        if following.start_bytes <= shipped_bytes:
            try:
                segment.path.unlink()
            except OSError:
                return
