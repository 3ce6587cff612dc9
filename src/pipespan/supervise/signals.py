"""Sees to it that each signal of the user reaches the child exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Any, Final

FORWARDED: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)

ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGQUIT") if hasattr(signal, name)
)
"""Who sends one of these wants the command to end, and not to be started again."""

_CANARY_WAIT_S: Final = 0.25
"""How long a signal to the whole process group may take to kill the canary, on a busy machine."""

_CANARY_ARGV: Final = ("/bin/sh", "-c", "ulimit -c 0; exec cat")


class Canary:
    """A process in our group that does nothing but die with it: it tells who else got a signal that we got.

    Ctrl-C goes to the whole process group, `kill` to one process, and a handler cannot see the difference. A child
    that got the signal already must not get it again, one that did not must.
    """

    def __init__(self) -> None:
        self._process = self._start()
        self._lock = asyncio.Lock()

    async def died_too(self, number: int) -> bool:
        """Tell whether the whole group was sent the signal that we were sent."""
        async with self._lock:
            return await self._died_of(number)

    async def _died_of(self, number: int) -> bool:
        process = self._process
        if process is None:
            return False
        deadline = asyncio.get_running_loop().time() + _CANARY_WAIT_S
        while process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.005)
        self._close(process)
        self._process = self._start()
        return process.returncode == -number

    def close(self) -> None:
        """End the canary."""
        if self._process is not None:
            self._close(self._process)
            self._process = None

    @staticmethod
    def _start() -> subprocess.Popen[bytes] | None:
        if sys.platform == "win32":
            return None
        with contextlib.suppress(OSError):
            # It reads from us, so that it ends when we do, however we do.
            return subprocess.Popen(
                _CANARY_ARGV, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        return None

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


class Inbox:
    """Takes the signals that come for us, for as long as several attempts of a command last.

    Attributes:
        received: all that came, in order.
        told: set as soon as one came that means that the command is to end.
    """

    def __init__(self, deaf_to: Collection[int] = ()) -> None:
        self.received: list[int] = []
        self.told = asyncio.Event()
        self._deaf_to = deaf_to
        self._on_signal: Callable[[int], None] | None = None
        self._on_resize: Callable[[], None] | None = None

    def take(self, number: int) -> None:
        """Note a signal and tell whoever listens."""
        if number in self._deaf_to:
            return
        self.received.append(number)
        if number in ENDING:
            self.told.set()
        if self._on_signal is not None:
            self._on_signal(number)

    def resize(self) -> None:
        """Tell whoever listens that our terminal has another size."""
        if self._on_resize is not None:
            self._on_resize()

    @contextlib.contextmanager
    def listened(self, on_signal: Callable[[int], None], on_resize: Callable[[], None]) -> Iterator[None]:
        """Have the signals told to a child's keeper meanwhile."""
        self._on_signal, self._on_resize = on_signal, on_resize
        try:
            yield
        finally:
            self._on_signal = self._on_resize = None


class Handlers:
    """Signal handlers on the running loop for as long as the context lasts; ignored signals stay ignored."""

    def __init__(self, on_signal: Callable[[int], None], on_resize: Callable[[], None]) -> None:
        self._on_signal = on_signal
        self._on_resize = on_resize
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._install(number, self._on_signal, number)
        if sys.platform != "win32":
            self._install(signal.SIGWINCH, self._on_resize)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in self._before.items():
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _install(self, number: int, handler: Callable[..., None], *args: int) -> None:
        loop = asyncio.get_running_loop()
        before = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, handler, *args)
        except NotImplementedError:
            # Windows: Ctrl-C reaches every process of the console by itself; ours must only outlive it.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(handler, *args))
        except (RuntimeError, ValueError):
            return  # not in the main thread: signals are somebody else's business
        self._before[number] = before
