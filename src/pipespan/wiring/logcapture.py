"""Sees to it that log records are taken in once, whoever bridges `logging` to OTel, and whenever."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pipespan.otel.install import RootAttachment, bridge_provider, is_bridge

if TYPE_CHECKING:
    from pipespan.otel.handler import RowLogHandler
    from pipespan.otel.ports import FindNode, RowWriter


class LogCapture:
    """Attaches our handler to `logging`, or our processor to the provider of a bridge that is there instead."""

    def __init__(self, handler: RowLogHandler, find_node: FindNode, sink: RowWriter) -> None:
        self._attachment = RootAttachment(handler)
        self._find_node = find_node
        self._sink = sink
        self._observed: list[Any] = []
        # The root's handlers, when they were looked at last and none of them was a bridge.
        self._seen: list[logging.Handler] | None = None
        self._processors: list[Any] = []

    def observe(self, provider: Any) -> None:
        """Take in what reaches an SDK LoggerProvider past our handler; a second call for the same does nothing."""
        if provider is None or any(one is provider for one in self._observed):
            return
        from pipespan.otel.processor import RowLogRecordProcessor  # noqa: PLC0415 - needs the SDK

        self._observed.append(provider)
        processor = RowLogRecordProcessor(self._find_node, self._sink)
        self._processors.append(processor)
        provider.add_log_record_processor(processor)

    @property
    def failure_count(self) -> int:
        """How many records that came by way of a provider could not be made into rows."""
        return sum(processor.failure_count for processor in self._processors)

    def ensure(self) -> None:
        """Look again who bridges; cheap enough for each opening of a scope."""
        root = logging.root
        if root.parent is self._attachment.above and root.handlers == self._seen:
            return
        # A bridge that has no provider yet may get one: with a bridge among them they are looked at each time.
        self._seen = None if any(is_bridge(one) for one in root.handlers) else list(root.handlers)
        bridged = bridge_provider(root)
        if bridged is None:
            self._attachment.ensure_attached()
        else:
            self._attachment.detach()
            self.observe(bridged)

    def end(self) -> None:
        """Leave `logging` as it was."""
        self._attachment.detach()
