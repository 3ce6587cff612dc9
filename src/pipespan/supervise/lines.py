"""Lines of a command's output as log rows, many at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pipespan.model.rows import LogRow, RowType
from pipespan.otel.ports import NodeIdentity, RowWriter
from pipespan.store.copytext import PreparedJson, encode_row, encode_text

_INFO_SEVERITY: Final = 9
"""OTel's number of it."""

MAX_LAST_ROWS: Final = 64
"""So many lines of a piece are written as rows, of which the recorder keeps the last ones as a job's last words."""


class LineNode(NodeIdentity, Protocol):
    """Whose lines they are; a live node is one."""

    @property
    def trace_id(self) -> str | None:
        """Of the node's span."""

    @property
    def span_id(self) -> str | None:
        """Of the node's span."""


class LineWriter(Protocol):
    """Takes encoded rows in; the recorder's sink is one."""

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        """Accept a row as its COPY line."""


class LineRows:
    """Writes the lines of one command.

    A command may print faster than rows can be made one by one, and is kept waiting then. All rows of a piece differ
    in their message only, so the rest of the COPY line is made once for all of them. `hide` hides secrets in it.
    """

    def __init__(
        self, node: LineNode, rows: RowWriter, lines: LineWriter, hide: Callable[[str], str] = str
    ) -> None:
        self._node = node
        self._rows = rows
        self._lines = lines
        self._hide = hide

    def write(self, stream: str, lines: Sequence[str]) -> None:
        """Write one INFO row for each of `lines`, in their order, with the present time."""
        row = self._row(stream)
        last = max(len(lines) - MAX_LAST_ROWS, 0)
        if last:
            mark = uuid.uuid4().hex
            before, after = encode_row(row._replace(message=mark)).decode().split(mark)
            for line in lines[:last]:
                encoded = f"{before}{encode_text(self._hide(line))}{after}".encode()
                self._lines.write_line(LogRow, encoded, droppable=True)
        for line in lines[last:]:
            self._rows.write(row._replace(message=line))

    def _row(self, stream: str) -> LogRow:
        node = self._node
        return LogRow(
            node.experiment_id,
            node.job_id,
            node.node_id,
            time.time_ns(),
            "INFO",
            _INFO_SEVERITY,
            stream,
            "",
            PreparedJson({"stream": stream}),
            None,
            None,
            None,
            node.trace_id,
            node.span_id,
        )
