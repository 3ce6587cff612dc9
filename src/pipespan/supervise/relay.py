"""Passes what a child writes on to our own stream, at once and unchanged, and shows it to a listener."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from pipespan.supervise.outlet import Outlet, write_all

OnBytes = Callable[[bytes], None]
"""Is shown each piece of a stream, in order, in the loop's thread; must not raise."""

_MAX_LEFTOVER_BYTES: Final = 1_048_576
"""The largest pipe that Linux gives to a user: what a dead child can have left in it at most."""


class Relay:
    """Relays one outlet until its end, or until `stop`.

    Attributes:
        error: why nothing could be passed on to our stream any more; the listener still hears everything.
    """

    def __init__(self, outlet: Outlet, on_bytes: OnBytes, executor: Executor) -> None:
        self.error: OSError | None = None
        self._outlet = outlet
        self._on_bytes = on_bytes
        self._executor = executor
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._leftover_bytes = _MAX_LEFTOVER_BYTES

    def stop(self) -> None:
        """Take what is in the channel now and wait for nothing more."""
        self._is_stopping = True
        self._wake.set()

    async def run(self, *, is_pollable: bool = sys.platform != "win32") -> None:
        """Relay everything; reading waits for writing, so a slow terminal slows the child and loses nothing."""
        if is_pollable:
            await self._run_polled()
        else:
            await self._run_threaded()

    async def _run_polled(self) -> None:
        loop = asyncio.get_running_loop()
        fd = self._outlet.read_end
        try:
            while self._leftover_bytes > 0:
                try:
                    data = self._outlet.read()
                except BlockingIOError:
                    if self._is_stopping:
                        return
                    self._wake.clear()
                    loop.add_reader(fd, self._wake.set)
                    await self._wake.wait()
                    loop.remove_reader(fd)
                    continue
                if not await self._take(data):
                    return
        finally:
            loop.remove_reader(fd)
            self._outlet.close()

    async def _run_threaded(self) -> None:
        """Read in a thread, where descriptors cannot be polled; one that never ends is left behind."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)

        def read_on() -> None:
            data = b"-"
            while data:
                data = self._outlet.read()
                try:
                    asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
                except RuntimeError:
                    return  # the loop is closed: nobody listens any more

        threading.Thread(target=read_on, name="pipespan-relay", daemon=True).start()
        while self._leftover_bytes > 0:
            getting = asyncio.ensure_future(queue.get())
            stopped = asyncio.ensure_future(self._wake.wait())
            await asyncio.wait((getting, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not getting.done():
                # The thread may be between two pieces.
                await asyncio.wait((getting,), timeout=0.05)
            if not getting.done():
                getting.cancel()
                return
            if not await self._take(getting.result()):
                self._outlet.close()
                return

    async def _take(self, data: bytes) -> bool:
        """Pass `data` on; False at the end, or when nobody reads our stream: then the child must learn it too."""
        if not data:
            return False
        if self._is_stopping:
            self._leftover_bytes -= len(data)
        is_read = True
        if self.error is None:
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._executor, write_all, self._outlet.target, data)
            except BrokenPipeError:
                is_read = False
            except OSError as error:
                self.error = error
        self._on_bytes(data)
        return is_read
