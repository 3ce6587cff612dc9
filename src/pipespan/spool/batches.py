"""Bytes of a lane as batches for the store; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from pipespan.model.rows import ROW_TYPES, RowType
from pipespan.spool.layout import ERROR_LOG_TAG, ROW_TYPE_OF_TAG
from pipespan.store.base import Batch, StreamKey

_Sorted = tuple[dict[RowType, list[bytes]], Mapping[bytes, int]]
"""Lines by table, and how many errors there are by experiment."""

_UUID_CHARS: Final = 36
_ERROR_TAG: Final = ERROR_LOG_TAG[0]
_TAGS_OF: Final[dict[RowType, frozenset[int]]] = {
    row_type: frozenset(tag[0] for tag, of_type in ROW_TYPE_OF_TAG.items() if of_type is row_type)
    for row_type in ROW_TYPES
}


def build_batch(key: StreamKey, start_bytes: int, end_bytes: int, data: bytes) -> Batch:
    """Return the lines of `data` sorted by table; lines with an unknown tag belong to nobody and are left out.

    Args:
        key: the lane.
        start_bytes: where the batch starts in the lane.
        end_bytes: where it ends; may lie further than `start_bytes + len(data)`.
        data: whole lines, each with its tag.
    """
    by_table, errors = _alike(data) or _sorted_out(data)
    return Batch(
        key, start_bytes, end_bytes, by_table, {experiment.decode(): n for experiment, n in errors.items()}
    )


def _alike(data: bytes) -> _Sorted | None:
    """Return lines that are all of one tag and experiment, as in a burst of logs; None where they are not.

    Nothing is done line by line, which takes more time than to send them.
    """
    tag, start = data[:1], data[1 : 1 + _UUID_CHARS]
    count = data.count(b"\n")
    if count < 2 or b"\n" in start or data.count(b"\n" + tag + start) != count - 1:
        return None
    row_type = ROW_TYPE_OF_TAG.get(tag)
    if row_type is None:
        return None
    piece = data[1:].replace(b"\n" + tag + start, b"\n" + start)
    return {row_type: [piece]}, {start: count} if tag == ERROR_LOG_TAG else {}


def _sorted_out(data: bytes) -> _Sorted:
    lines = data.splitlines(keepends=True)
    present = {line[0] for line in lines}
    # One pass in C for each table: a loop in Python that sorts line by line takes four times as long.
    by_table: dict[RowType, list[bytes]] = {}
    for row_type, tags in _TAGS_OF.items():
        if not tags.isdisjoint(present):
            by_table[row_type] = [line[1:] for line in lines if line[0] in tags]
    return by_table, Counter(line[1 : 1 + _UUID_CHARS] for line in lines if line[0] == _ERROR_TAG)


def halves(start_bytes: int, data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]] | None:
    """Return `data` cut in two at the line end nearest to its middle, each with its offset; None for a single line."""
    middle = data.find(b"\n", len(data) // 2) + 1
    if middle >= len(data):
        middle = data.rfind(b"\n", 0, len(data) - 1) + 1
    if middle == 0:
        return None
    return (start_bytes, data[:middle]), (start_bytes + middle, data[middle:])
