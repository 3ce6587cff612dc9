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

_LAST_WORD_S: Final = 0.1
"""How long a reading thread may take to hand over what it has read."""


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
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        may_read = threading.Semaphore(1)

        def read_on() -> None:
            data = b"-"
            while data:
                may_read.acquire()
                data = self._outlet.read()
                try:
                    loop.call_soon_threadsafe(queue.put_nowait, data)
                except RuntimeError:
                    return  # the loop is closed: nobody listens any more

        threading.Thread(target=read_on, name="pipespan-relay", daemon=True).start()
        while self._leftover_bytes > 0:
            data = await self._next_of(queue)
            if data is None:
                return  # the thread waits in the channel, which must stay open for as long
            if not await self._take(data):
                break
            may_read.release()
        self._outlet.close()

    async def _next_of(self, queue: asyncio.Queue[bytes]) -> bytes | None:
        getting = asyncio.ensure_future(queue.get())
        stopped = asyncio.ensure_future(self._wake.wait())
        await asyncio.wait((getting, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not getting.done():
            # The thread may be on its way with what was there.
            await asyncio.wait((getting,), timeout=_LAST_WORD_S)
        if getting.done():
            return getting.result()
        getting.cancel()
        return None

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
