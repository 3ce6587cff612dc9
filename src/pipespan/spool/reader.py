"""The reading end of a lane: whole lines from any offset, over segment borders, gaps and torn ends."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
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
        is_last: nothing stood behind it when it was read.
        is_alone: there is no older segment than the one that it is from, so that none is to be removed.
    """

    start_bytes: int
    end_bytes: int
    data: bytes
    skipped_bytes: int = 0
    is_last: bool = False
    is_alone: bool = False


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
        return replace(
            chunk,
            start_bytes=start_bytes,
            skipped_bytes=chunk.end_bytes - start_bytes - len(chunk.data),
            is_last=chunk.is_last and following is None,
            is_alone=len(found) == 1,
        )
    return None


def _read_segment(segment: Segment, start_bytes: int, limit_bytes: int, *, is_closed: bool) -> Chunk | None:
    """Return lines of one segment; `is_last` says that it ends with them."""
    with segment.path.open("rb", buffering=0) as file:
        left_bytes = os.fstat(file.fileno()).st_size - file.seek(start_bytes - segment.start_bytes)
        if left_bytes <= 0:
            return None
        # Not the whole limit: so much memory would be taken and given back for a few lines.
        data = file.read(min(limit_bytes, left_bytes))
        while data and (end := data.rfind(b"\n")) < 0 and len(data) < MAX_LINE_BYTES:
            more = file.read(limit_bytes)
            if not more:
                break
            data += more
    if not data:
        return None
    end = data.rfind(b"\n") + 1
    if end:
        return Chunk(start_bytes, start_bytes + end, data[:end], is_last=end == len(data) >= left_bytes)
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
