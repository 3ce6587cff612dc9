"""A way to a server on which each message of the client takes its time."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class SlowProxy:
    """Listens on loopback and hands on to a Unix socket, `delay_s` late in the client's direction.

    Args:
        path: the server's socket.
    """

    def __init__(self, path: str) -> None:
        self.delay_s = 0.0
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
            except OSError:
                return
            self._open += [client, server]
            for source, target, is_slow in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, target, is_slow), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_slow: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if is_slow and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
