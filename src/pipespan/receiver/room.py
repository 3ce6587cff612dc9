"""How much may be in work at once; who comes beyond that is asked to come again."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

MAX_REQUESTS: Final = 256
"""Requests of one process in work or waiting, of both transports together."""

MAX_HELD_BYTES: Final = 64 << 20
"""Bytes of their bodies. A single request may always be as large as the protocol allows."""


class FullError(Exception):
    """There is no room now."""


@dataclass(slots=True)
class Room:
    """Counts what is in work; used by one thread, that of the event loop."""

    max_requests: int = MAX_REQUESTS
    max_bytes: int = MAX_HELD_BYTES
    requests: int = field(default=0, init=False)
    held_bytes: int = field(default=0, init=False)

    def enter(self) -> Ticket:
        """Return the right to be in work.

        Raises:
            FullError: there are too many already.
        """
        if self.requests >= self.max_requests:
            raise FullError("too many requests at once")
        self.requests += 1
        return Ticket(self)


@dataclass(slots=True)
class Ticket:
    """One request in work; leaves when closed."""

    room: Room
    held_bytes: int = 0

    def hold(self, more_bytes: int) -> None:
        """Take room for a part of a body.

        Raises:
            FullError: all requests together hold too much.
        """
        others = self.room.held_bytes - self.held_bytes
        if others and self.room.held_bytes + more_bytes > self.room.max_bytes:
            raise FullError("too much at once")
        self.room.held_bytes += more_bytes
        self.held_bytes += more_bytes

    def __enter__(self) -> Ticket:  # noqa: PYI034 - Self is not in Python 3.10
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the room back."""
        self.room.requests -= 1
        self.room.held_bytes -= self.held_bytes
