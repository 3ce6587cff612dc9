"""Bytes of a lane as batches for the store; pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from pipespan.model.rows import RowType
from pipespan.spool.layout import ERROR_LOG_TAG, ROW_TYPE_OF_TAG
from pipespan.store.base import Batch, StreamKey

_UUID_CHARS: Final = 36


def build_batch(key: StreamKey, start_bytes: int, end_bytes: int, data: bytes) -> Batch:
    """Return the lines of `data` sorted by table; lines with an unknown tag belong to nobody and are left out.

    Args:
        key: the lane.
        start_bytes: where the batch starts in the lane.
        end_bytes: where it ends; may lie further than `start_bytes + len(data)`.
        data: whole lines, each with its tag.
    """
    lines: dict[RowType, list[bytes]] = {}
    errors: Counter[str] = Counter()
    for line in data.splitlines(keepends=True):
        tag = line[:1]
        row_type = ROW_TYPE_OF_TAG.get(tag)
        if row_type is None:
            continue
        lines.setdefault(row_type, []).append(line[1:])
        if tag == ERROR_LOG_TAG:
            errors[line[1 : 1 + _UUID_CHARS].decode()] += 1
    return Batch(key, start_bytes, end_bytes, lines, dict(errors))


def halves(start_bytes: int, data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]] | None:
    """Return `data` cut in two at the line end nearest to its middle, each with its offset; None for a single line."""
    middle = data.find(b"\n", len(data) // 2) + 1
    if middle >= len(data):
        middle = data.rfind(b"\n", 0, len(data) - 1) + 1
    if middle == 0:
        return None
    return (start_bytes, data[:middle]), (start_bytes + middle, data[middle:])
