"""HTTP connections that nobody can hold by being slow: to send the head of a request, or to read an answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S: Final = 10.0
"""The head of a request comes within this, or the connection is cut."""

MAX_HEAD_BYTES: Final = 64 << 10
"""The head of a request has no more than this; the parser itself knows no bound."""

UNREAD_TIMEOUT_S: Final = 30.0
"""A sender that does not take its answers for so long is cut off."""

REST_TIMEOUT_S: Final = 30.0
"""The rest of a body that was answered without being read comes within this."""

MAX_CONNECTIONS: Final = 4_000
"""Connections of one process; further ones are closed at once, and their senders try again."""


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with limits; bodies that are read have theirs in `pipespan.receiver.http`."""

    # Runs while a head is awaited: from the connection or from its first byte on. Between requests uvicorn has a limit.
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes: int = 0
    _rest_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _is_message_open: bool = False

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_message_open = True
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        _cancel(self._head_timer)
        self._head_timer, self._head_bytes = None, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._is_message_open = False
        _cancel(self._rest_timer)
        self._rest_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        if self._is_message_open and self._rest_timer is None:
            self._rest_timer = self.loop.call_later(REST_TIMEOUT_S, self.transport.abort)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol.pause_writing`."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        super().resume_writing()
        _cancel(self._unread_timer)
        self._unread_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        for timer in (self._head_timer, self._rest_timer, self._unread_timer):
            _cancel(timer)
        super().connection_lost(exc)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
