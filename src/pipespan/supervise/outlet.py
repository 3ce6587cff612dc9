"""The channel over which a child's stream reaches us: a terminal of its own where ours is one, else a pipe."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from dataclasses import dataclass
from typing import Final

if sys.platform != "win32":
    import fcntl
    import struct
    import termios

_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Outlet:
    """One stream of a child.

    Attributes:
        target: our own file descriptor that the bytes go on to.
        read_end: where we read what the child writes.
        write_end: what the child gets; ours to close once it has started.
        is_terminal: whether it is a pseudo-terminal.
    """

    target: int
    read_end: int
    write_end: int
    is_terminal: bool

    def read(self) -> bytes:
        """Return what is there, b"" at the end; raises BlockingIOError when nothing is."""
        try:
            return os.read(self.read_end, _READ_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            # Linux reports the end of a pseudo-terminal as EIO.
            return b""

    def close_write_end(self) -> None:
        """Leave the writing to the child alone, so that its end is our end of file."""
        os.close(self.write_end)

    def close(self) -> None:
        """Stop reading; whoever still writes is told by SIGPIPE or EIO."""
        os.close(self.read_end)

    def copy_window_size(self) -> None:
        """Give the child's terminal the size of ours."""
        if sys.platform != "win32" and self.is_terminal:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self.target, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
                fcntl.ioctl(self.read_end, termios.TIOCSWINSZ, size)


def open_outlet(target: int) -> Outlet:
    """Open the channel for the stream that goes on to our descriptor `target`."""
    if sys.platform != "win32" and os.isatty(target):
        with contextlib.suppress(OSError):
            return _open_terminal(target)
    read_end, write_end = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(read_end, False)
    return Outlet(target, read_end, write_end, is_terminal=False)


def write_all(target: int, data: bytes) -> None:
    """Write all of `data`, waiting as long as the other side needs; from a thread that may wait."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            # Somebody else made our stdout non-blocking; that flag is shared, so it is not ours to change.
            select.select([], [target], [], 1.0)


if sys.platform != "win32":

    def _open_terminal(target: int) -> Outlet:
        read_end, write_end = os.openpty()
        modes = termios.tcgetattr(target)
        # The bytes must come through unchanged: our own terminal translates the newlines, once.
        modes[1] &= ~termios.OPOST
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(write_end, termios.TCSANOW, modes)
        os.set_blocking(read_end, False)
        outlet = Outlet(target, read_end, write_end, is_terminal=True)
        outlet.copy_window_size()
        return outlet
