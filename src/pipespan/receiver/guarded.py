"""HTTP connections that nobody can hold by being slow: to send the head of a request, or to read an answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S: Final = 10.0
"""The head of a request comes within this, or the connection is cut."""

UNREAD_TIMEOUT_S: Final = 30.0
"""A sender that does not take its answers for so long is cut off."""

MAX_CONNECTIONS: Final = 4_000
"""Connections of one process; further ones are closed at once, and their senders try again."""


class GuardedProtocol(H11Protocol):
    """Uvicorn's protocol with time limits; bodies have theirs in `pipespan.receiver.http`."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._check_head)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        super().data_received(data)
        if self._head_timer is None and self._is_between_requests():
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._check_head)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol.pause_writing`."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        super().resume_writing()
        _cancel(self._unread_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        _cancel(self._head_timer)
        _cancel(self._unread_timer)
        super().connection_lost(exc)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check_head(self) -> None:
        self._head_timer = None
        # One that waits for its next request without a byte of it has a limit of uvicorn's.
        if self._is_between_requests() and self.timeout_keep_alive_task is None:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
