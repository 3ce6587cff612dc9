"""The user's callbacks on changes of nodes, in the same process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipespan.record.node import Node
from pipespan.spool.notices import Notices

Callback = Callable[[Node], Any]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Calls what the user gave; what a callback raises is told and goes no further.

    Attributes:
        notices: where troubles are told.
        started: when a node starts, in the thread that starts it.
        progress: when a node moved, throttled, in a thread of pipespan.
        completed: when a node ended well, in the thread that ends it.
        failed: when a node failed or was cancelled; `node.status` and `node.error_type` say how.
    """

    notices: Notices
    started: Callback | None = None
    progress: Callback | None = None
    completed: Callback | None = None
    failed: Callback | None = None

    def node_started(self, node: Node) -> None:
        """Tell the start."""
        self._call(self.started, node)

    def node_progressed(self, node: Node) -> None:
        """Tell the progress."""
        self._call(self.progress, node)

    def node_ended(self, node: Node) -> None:
        """Tell the end."""
        self._call(self.completed if node.status == "completed" else self.failed, node)

    def _call(self, callback: Callback | None, node: Node) -> None:
        if callback is None:
            return
        try:
            callback(node)
        except Exception as error:  # noqa: BLE001 - a callback must not end the work it watches
            self.notices.trouble("callback", f"the callback {callback!r} raised {error!r}")
