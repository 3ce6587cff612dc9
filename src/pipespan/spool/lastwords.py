"""The last log lines and resource samples of a dead process, read from the ends of its stream's segments."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipespan.model.rows import LogRow, MetricRow, Row, RowType
from pipespan.spool.layout import LANES, ROW_TYPE_OF_TAG, segments
from pipespan.store.copytext import decode_line

TAIL_BYTES: Final = 512 << 10
"""Of each lane's last two segments so much is read."""


def last_logs(folder: Path, job_id: str, limit: int) -> list[LogRow]:
    """Return the newest log rows of a job that are still on disk, oldest first."""
    found = [row for row in _tail(folder, LogRow) if isinstance(row, LogRow) and row.job_id == job_id]
    return sorted(heapq.nlargest(limit, found, key=_time), key=_time)


def last_samples(folder: Path, job_id: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest resource samples of a job that are still on disk, oldest first."""
    found = [
        row
        for row in _tail(folder, MetricRow)
        if isinstance(row, MetricRow) and row.job_id == job_id and row.memory_mb is not None
    ]
    newest = sorted(heapq.nlargest(limit, found, key=_time), key=_time)
    return [
        {
            "at_unix_ns": row.timestamp,
            "memory_mb": row.memory_mb,
            "cpu_percent": row.cpu_percent,
            **(row.custom_metrics or {}),
        }
        for row in newest
    ]


def _time(row: LogRow | MetricRow) -> int:
    return row.timestamp


def _tail(folder: Path, wanted: RowType) -> Iterator[Row]:
    for lane in LANES:
        for segment in segments(folder, lane)[-2:]:
            for line in _lines(segment.path):
                if ROW_TYPE_OF_TAG.get(line[:1]) is wanted:
                    try:
                        yield decode_line(wanted, line[1:])
                    except ValueError:  # torn, or of another version
                        continue


def _lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL_BYTES, 0))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return []
    # The first one is cut, the last one torn, unless they are whole.
    return [line for line in lines[(size > TAIL_BYTES) :] if line.endswith(b"\n")]
