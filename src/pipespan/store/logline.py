"""The COPY line of a log row, for a line of code that logs again and again.

Programs log in loops, on their own time, and most columns of those rows are the same. Here they are encoded once;
the result equals `encode_row` of the row (a property test holds the two together).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pipespan.model.status import LogLevel
from pipespan.store.copytext import NULL, PreparedJson, encode_text, encode_time

MAX_IDS: Final = 256
"""So many spans are remembered with their ids in digits."""


class LogLine:
    """Encodes rows that differ in their owner, time and message, and say no more than that."""

    __slots__ = ("_middle", "_tail")

    def __init__(
        self, level: LogLevel, severity_number: int, logger_name: str, context: PreparedJson
    ) -> None:
        """Encode what never changes; the arguments are columns of `LogRow`."""
        self._middle = f"\t{level}\t{severity_number}\t{encode_text(logger_name)}\t"
        self._tail = f"\t{context.copy_text}\t{NULL}\t{NULL}\t{NULL}\t"

    def encode(self, owner: str, timestamp: int, message: str, ids: str) -> bytes:
        """Return the line of a row.

        Args:
            owner: whose it is (`owner_text`).
            timestamp: the column, in nanoseconds.
            message: the column.
            ids: of the span that it was logged in (`ids_text`).
        """
        text = encode_text(message)
        return f"{owner}{encode_time(timestamp)}{self._middle}{text}{self._tail}{ids}".encode()


def owner_text(experiment_id: str, job_id: str, node_id: str) -> str:
    """Return the columns that tell whose row it is."""
    return f"{experiment_id}\t{job_id}\t{encode_text(node_id)}\t"


@lru_cache(maxsize=MAX_IDS)
def ids_text(trace_id: int, span_id: int) -> str:
    """Return the columns of the span, and the end of the line."""
    trace, span = hex_ids(trace_id, span_id)
    return f"{NULL if trace is None else trace}\t{NULL if span is None else span}\n"


@lru_cache(maxsize=MAX_IDS)
def hex_ids(trace_id: int, span_id: int) -> tuple[str | None, str | None]:
    """Return both ids in digits, None for those that are 0."""
    return f"{trace_id:032x}" if trace_id else None, f"{span_id:016x}" if span_id else None
