"""The COPY line of a node's row, for the one who writes it again and again.

A step is opened and closed on the user's time, and most columns of its two rows are the same. Here they are
encoded once; the result equals `encode_row` of the node's row (a property test holds the two together).
"""

from __future__ import annotations

from typing import Final

from pipespan.model.attributes import MAX_TEXT_CHARS
from pipespan.model.status import NodeLevel, Status
from pipespan.store.copytext import NULL, encode_text, encode_time

_BARE: Final = f"\t0\t{NULL}\t{NULL}\t1.0\t{NULL}\t{NULL}\t"
"""The columns from `completed_units` to `error_type` where nothing was said of them."""


class NodeLine:
    """Encodes the rows of one node."""

    __slots__ = ("_head", "_start_time", "_tail")

    def __init__(  # noqa: PLR0913 - the columns of a table, positional because this is a hot path
        self, experiment_id: str, node_id: str, level: NodeLevel, parent_id: str | None, name: str,
        trace_id: str, span_id: str, job_id: str, attempt: int, start_time: int,
    ) -> None:  # fmt: skip
        """Encode what never changes; the arguments are columns of `NodeRow`."""
        place = f"{node_id}\t{level}\t{NULL if parent_id is None else parent_id}\t{name}"
        if "\\" in place or not f"{node_id}{parent_id}{name}".isprintable() or len(place) > MAX_TEXT_CHARS:
            # Rare: what does not stand for itself. A root's NULL comes here too.
            parent = NULL if parent_id is None else encode_text(parent_id)
            place = f"{encode_text(node_id)}\t{level}\t{parent}\t{encode_text(name)}"
        self._head = f"{experiment_id}\t{place}\t"
        self._start_time = encode_time(start_time)
        self._tail = f"\t{trace_id}\t{span_id}\t{job_id}\t{attempt}\t"

    def bare(self, status: Status, end_time: int | None, metadata: str, version: int) -> bytes:
        """Return what `encode` does for a node that tells of no units and no message, as most steps are."""
        return (
            f"{self._head}{status}{_BARE}{self._start_time}\t"
            f"{NULL if end_time is None else encode_time(end_time)}\t{metadata}{self._tail}{version}\n"
        ).encode()

    def encode(  # noqa: PLR0913 - as above
        self, status: Status, completed_units: int, total_units: int | None, unit: str | None, weight: float,
        message: str | None, error_type: str | None, end_time: int | None, metadata: str, version: int,
    ) -> bytes:  # fmt: skip
        """Return the line of the node as it is now.

        The arguments are columns of `NodeRow`; `metadata` is the COPY text of its JSON (`encode_json`).
        """
        return (
            f"{self._head}{status}\t{completed_units}\t"
            f"{NULL if total_units is None else total_units}\t"
            f"{NULL if unit is None else encode_text(unit)}\t{weight!r}\t"
            f"{NULL if message is None else encode_text(message)}\t"
            f"{NULL if error_type is None else encode_text(error_type)}\t{self._start_time}\t"
            f"{NULL if end_time is None else encode_time(end_time)}\t{metadata}{self._tail}{version}\n"
        ).encode()
