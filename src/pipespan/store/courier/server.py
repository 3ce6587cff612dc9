"""The courier's own side: takes batches from all programs of a folder, and ships them one after the other."""

from __future__ import annotations

import hmac
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipespan.errors import OffsetError, RefusedError, StoreError
from pipespan.store.base import Sink
from pipespan.store.courier.door import name_of
from pipespan.store.courier.wire import Frame, Readable, WireError, batch_of, error_frame, key_of, read_frame

MAX_PROGRAMS: Final = 200
"""Further programs ship by themselves: here each takes a thread."""

BIG_BYTES: Final = 1 << 20
"""Who has so much to ship at once gets a connection of its own."""

_UMASK: Final = 0o177
"""The socket is readable and writable by the user alone."""

_PAUSE_S: Final = 0.1


class Courier:
    """Ships what programs hand over, on one connection that is open while there are any.

    A program with much to ship has a connection of its own from then on, so that the others need not wait behind it.

    Args:
        path: of the socket; its folder lets in nobody but this user.
        pass_phrase: what a program must say to be let in: both would reach the same database in the same way.
        open_sink: opens the way to the database; called when the first batch comes, and again after a failure.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(self, path: Path, pass_phrase: str, open_sink: Callable[[], Sink]) -> None:
        self._path = path
        self._pass_phrase = pass_phrase.encode()
        self._open_sink = open_sink
        self._common = _Way(open_sink)
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
            own = _Way(self._open_sink)
            try:
                says_goodbye = self._is_greeting(read_frame(file)) and self._converse(connection, file, own)
            finally:
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

    def _converse(self, connection: socket.socket, file: Readable, own: _Way) -> bool:
        """Answer until the program leaves; return whether it says so."""
        connection.sendall(Frame({}).encoded())
        way = self._common
        while (frame := read_frame(file)) is not None:
            if frame.head.get("do") == "leave":
                return True
            if len(frame.body) > BIG_BYTES:
                way = own
            connection.sendall(way.answer(frame).encoded())
        return False


class _Way:
    """A way to the database, opened when it is needed, and anew after a failure; one at a time may use it."""

    def __init__(self, open_sink: Callable[[], Sink]) -> None:
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._lock = threading.Lock()

    def answer(self, frame: Frame) -> Frame:
        """Carry out what a frame asks for; return what is to be told, whatever happens."""
        try:
            with self._lock:
                return self._carried_out(frame)
        except StoreError as error:
            return error_frame(error)
        except Exception as error:  # noqa: BLE001 - the program ships by itself then
            return Frame({"refused": f"the courier failed: {error!r}"})

    def close(self, unless: Callable[[], bool] = bool) -> None:
        """Give the connection back, if nobody came meanwhile."""
        with self._lock:
            if not unless():
                self._close_sink()

    def _carried_out(self, frame: Frame) -> Frame:
        if self._sink is None:
            self._sink = self._open_sink()
        try:
            told = _do(self._sink, frame)
        except (OffsetError, RefusedError):
            raise
        except BaseException:
            self._close_sink()
            raise
        return Frame({**told, "stray_rows": getattr(self._sink, "stray_rows", 0)})

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _do(sink: Any, frame: Frame) -> Mapping[str, Any]:
    """Carry out what a frame asks for; return what is to be told."""
    head = frame.head
    match head["do"]:
        case "ship":
            sink.ship(batch_of(frame))
        case "offset":
            return {"offset": sink.offset(key_of(head))}
        case "requests":
            return {"requests": [asdict(one) for one in sink.open_requests(head["jobs"])]}
        case "answer":
            sink.answer_request(head["request"], head["answer"])
        case other:
            raise WireError(f"nobody knows how to {other!r}")
    return {}
