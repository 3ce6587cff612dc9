"""The courier's own side: takes batches from all programs of a folder, and ships what comes at a time together."""

from __future__ import annotations

import hmac
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipespan.store.base import CommonSink
from pipespan.store.courier.care import Care, Rounds, ShipShares
from pipespan.store.courier.door import name_of
from pipespan.store.courier.way import BIG_BYTES, Way
from pipespan.store.courier.wire import Frame, Readable, WireError, read_frame

MAX_PROGRAMS: Final = 200
"""Further programs ship by themselves: here each takes a thread."""

_UMASK: Final = 0o177
"""The socket is readable and writable by the user alone."""

_PAUSE_S: Final = 0.1

EXPECTED_S: Final = 10.0
"""So long a connection that was made before any program came is kept for the first one."""


class Courier:
    """Ships what programs hand over, on one connection that is open while there are any.

    A program with much to ship has a connection of its own from then on, so that the others need not wait behind it.

    Args:
        path: of the socket; its folder lets in nobody but this user.
        pass_phrase: what a program must say to be let in: both would reach the same database in the same way.
        open_sink: opens the way to the database; called when the first batch comes, or by `get_ready`, and again after
            a failure.
        make_rounds: makes what fetches the rows of programs, so that these need not hand them over, of the way that
            the rows go; None where each has to.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(
        self, path: Path, pass_phrase: str, open_sink: Callable[[], CommonSink],
        make_rounds: Callable[[ShipShares], Rounds] | None = None,
    ) -> None:  # fmt: skip
        self._path = path
        self._pass_phrase = pass_phrase.encode()
        self._open_sink = open_sink
        self._common = Way(open_sink, lambda: self._programs)
        self._rounds = None if make_rounds is None else make_rounds(self._common.ship_shares)
        self._door = threading.Lock()
        self._programs = 0
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                path.unlink()  # of a courier that was killed
            before = os.umask(_UMASK)  # of the whole process, which has no other threads yet
            try:
                with name_of(path) as name:
                    self._listening.bind(name)
            finally:
                os.umask(before)
            self._listening.listen(MAX_PROGRAMS)
        except OSError:
            self._listening.close()
            raise

    def start(self) -> None:
        """Begin to listen, in a thread."""
        threading.Thread(target=self._listen, name="courier", daemon=True).start()

    def get_ready(self) -> None:
        """Connect and rehearse, in a thread: the program that has started this one is about to bring rows."""
        with suppress(RuntimeError):  # no more threads
            threading.Thread(target=self._expect, name="courier-ready", daemon=True).start()

    def _expect(self) -> None:
        self._common.open()
        time.sleep(EXPECTED_S)
        self._common.close(unless=lambda: self._programs > 0)

    def close(self) -> None:
        """Let nobody in any more; never raises."""
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
        self._listening.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                if self._listening.fileno() < 0:
                    return
                time.sleep(_PAUSE_S)  # no descriptors are left
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="courier", daemon=True)
            try:
                if self._come():
                    thread.start()
                    continue
            except RuntimeError:  # no more threads
                self._leave()
            connection.close()

    def _come(self) -> bool:
        with self._door:
            is_let_in = self._programs < MAX_PROGRAMS
            self._programs += is_let_in
        return is_let_in

    def _leave(self) -> None:
        with self._door:
            self._programs -= 1
            is_empty = self._programs == 0
        if is_empty:
            self._common.close(unless=lambda: self._programs > 0)

    def _serve(self, connection: socket.socket) -> None:
        # Who hangs up in the middle of a word ships by itself what has not arrived.
        with suppress(OSError, WireError), connection, connection.makefile("rb") as file:
            own = Way(self._open_sink, lambda: 1)
            care = Care(self._rounds)
            try:
                says_goodbye = self._is_greeting(read_frame(file)) and self._converse(
                    connection, file, own, care
                )
            finally:
                care.end()
                own.close()
                self._leave()
            connection.sendall(
                Frame({} if says_goodbye else {"refused": "the courier goes another way"}).encoded()
            )

    def _is_greeting(self, frame: Frame | None) -> bool:
        if frame is None or frame.head.get("do") != "greet":
            return False
        said = str(frame.head.get("pass_phrase", "")).encode(errors="replace")
        return hmac.compare_digest(said, self._pass_phrase)

    def _converse(self, connection: socket.socket, file: Readable, own: Way, care: Care) -> bool:
        """Answer until the program leaves; return whether it says so."""
        connection.sendall(Frame({}).encoded())
        way = self._common
        while (frame := read_frame(file)) is not None:
            if frame.head.get("do") == "leave":
                return True
            if len(frame.body) > BIG_BYTES:
                way = own
            answer = care.answer(frame) or way.answer(frame)
            told = {"stray_rows": way.stray_rows, **answer.head, **care.standing()}
            connection.sendall(Frame(told, answer.body).encoded())
        return False
