"""Bytes of a lane as batches for the store; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipespan.model.rows import ROW_TYPES, RowType
from pipespan.spool.layout import ERROR_LOG_TAG, ROW_TYPE_OF_TAG
from pipespan.store.base import Batch, StreamKey

_UUID_CHARS: Final = 36
_ERROR_TAG: Final = ERROR_LOG_TAG[0]
_TAGS_OF: Final[dict[RowType, frozenset[int]]] = {
    row_type: frozenset(tag[0] for tag, of_type in ROW_TYPE_OF_TAG.items() if of_type is row_type)
    for row_type in ROW_TYPES
}
_LINE_ENDS: Final = {tag: re.compile(b"\n" + tag + b"?") for tag in ROW_TYPE_OF_TAG}
"""The end of a line, and the tag of the next one where that has the same."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Lines by table, how many they are, and how many errors there are among them by experiment."""

    lines: dict[RowType, list[bytes]]
    row_count: int
    errors: Mapping[bytes, int]


def build_batch(key: StreamKey, start_bytes: int, end_bytes: int, data: bytes) -> Batch:
    """Return the lines of `data` sorted by table; lines with an unknown tag belong to nobody and are left out.

    Args:
        key: the lane.
        start_bytes: where the batch starts in the lane.
        end_bytes: where it ends; may lie further than `start_bytes + len(data)`.
        data: whole lines, each with its tag.
    """
    found = _alike(data) or _sorted_out(data)
    errors = {experiment.decode(): count for experiment, count in found.errors.items()}
    return Batch(key, start_bytes, end_bytes, found.lines, errors, counted=found.row_count)


def _alike(data: bytes) -> _Sorted | None:
    """Return lines that are all of one tag, as in a burst of logs; None where they are not.

    They are counted, looked at and rid of their tags all at once: a pass over the bytes takes longer than to send them.
    """
    tag = data[:1]
    row_type = ROW_TYPE_OF_TAG.get(tag)
    if row_type is None:
        return None
    untagged, count = _LINE_ENDS[tag].subn(b"\n", data)
    if len(data) - len(untagged) != count - 1:  # no tag follows the last one
        return None
    errors: dict[bytes, int] = {}
    if tag == ERROR_LOG_TAG:
        start = data[1 : 1 + _UUID_CHARS]
        if data.count(b"\n" + tag + start) != count - 1:
            return None
        errors[start] = count
    return _Sorted({row_type: [untagged[1:]]}, count, errors)


def _sorted_out(data: bytes) -> _Sorted:
    lines = data.splitlines(keepends=True)
    present = {line[0] for line in lines}
    # One pass in C for each table: a loop in Python that sorts line by line takes four times as long.
    by_table: dict[RowType, list[bytes]] = {}
    for row_type, tags in _TAGS_OF.items():
        if not tags.isdisjoint(present):
            by_table[row_type] = [line[1:] for line in lines if line[0] in tags]
    errors = Counter(line[1 : 1 + _UUID_CHARS] for line in lines if line[0] == _ERROR_TAG)
    return _Sorted(by_table, sum(map(len, by_table.values())), errors)


def halves(start_bytes: int, data: bytes) -> tuple[tuple[int, bytes], tuple[int, bytes]] | None:
    """Return `data` cut in two at the line end nearest to its middle, each with its offset; None for a single line."""
    middle = data.find(b"\n", len(data) // 2) + 1
    if middle >= len(data):
        middle = data.rfind(b"\n", 0, len(data) - 1) + 1
    if middle == 0:
        return None
    return (start_bytes, data[:middle]), (start_bytes + middle, data[middle:])
