"""Lines of a command's output as log rows, many at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pipespan.otel.ports import LogWriter, NodeIdentity
from pipespan.store.copytext import PreparedJson
from pipespan.store.logline import LogLine, ids_text, owner_text

_INFO_SEVERITY: Final = 9
"""OTel's number of it."""


class LineNode(NodeIdentity, Protocol):
    """Whose lines they are; a live node is one."""

    @property
    def trace_id(self) -> str:
        """Of the node's span, in hex digits."""

    @property
    def span_id(self) -> str:
        """Of the node's span, in hex digits."""


class LineRows:
    """Writes the lines of one command.

    A command may print faster than rows can be made one by one, and is kept waiting then. All rows of a stream differ
    in their time and message only, so the rest of the COPY line is made once. `hide` hides secrets in a line.
    """

    def __init__(self, node: LineNode, rows: LogWriter, hide: Callable[[str], str] = str) -> None:
        self._node = node
        self._rows = rows
        self._hide = hide
        self._streams: dict[str, LogLine] = {}

    def write(self, stream: str, lines: Sequence[str]) -> None:
        """Write one INFO row for each of `lines`, in their order, with the present time."""
        node = self._node
        row = self._streams.get(stream) or self._new_stream(stream)
        owner = owner_text(node.experiment_id, node.job_id, self._hide(node.node_id))
        ids = ids_text(int(node.trace_id, 16), int(node.span_id, 16))
        now_ns = time.time_ns()
        for line in lines:
            message = self._hide(line)
            self._rows.write_log(node.experiment_id, "INFO", message, row.encode(owner, now_ns, message, ids))

    def _new_stream(self, stream: str) -> LogLine:
        row = LogLine("INFO", _INFO_SEVERITY, stream, PreparedJson({"stream": stream}))
        self._streams[stream] = row
        return row
