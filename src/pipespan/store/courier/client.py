"""The program's side: a sink that hands its batches to the courier."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pipespan.errors import StoreError
from pipespan.store.base import Batch, Fetched, RequestRow, StreamKey
from pipespan.store.courier.door import name_of
from pipespan.store.courier.wire import Frame, WireError, batches_frame, error_of, read_frame

PATIENCE_S: Final = 15
"""A courier that answers no sooner is taken for frozen; its own database may take a while."""

_ANSWER_BYTES: Final = 1 << 12

_TIMEVAL: Final = struct.Struct("@ll")


class CourierGoneError(StoreError):
    """The courier cannot be reached, or will not ship for this program; the database itself may be well."""


class NotLetInError(CourierGoneError):
    """There is a courier, and it does not ship for this program; to wait for it is no use."""


class CourierSink:
    """Implements `Sink`, `Desk` and `Fetcher` over the courier's socket.

    Args:
        path: of the socket.
        pass_phrase: what courier and program must agree on (`Courier`).
        is_pressing: whether the program is about to end: the courier does not wait for batches of others then.

    Raises:
        NotLetInError: it does not ship for this program.
        CourierGoneError: nobody listens there. All methods raise it beside what those of the courier's own sink raise;
            whether a batch arrived is unknown then.
    """

    def __init__(self, path: Path, pass_phrase: str, is_pressing: Callable[[], bool] = lambda: False) -> None:
        self.stray_rows = 0
        self._is_pressing = is_pressing
        # What the last answer told of it, until somebody wants to know.
        self._fetched: Fetched | None = None
        try:
            self._line = _Line(path)
        except OSError as error:
            raise CourierGoneError(f"no courier listens at {str(path)!r}: {error}") from error
        try:
            self._ask(Frame({"do": "greet", "pass_phrase": pass_phrase}))
        except CourierGoneError as error:
            raise NotLetInError(str(error)) from error

    def ship(self, *batches: Batch) -> None:
        """See `Sink.ship`."""
        self._ask(batches_frame(batches, is_pressing=self._is_pressing()))

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        answer = self._ask(Frame({"do": "offset", "stream": key.stream_id, "lane": key.lane}))
        return int(answer["offset"])

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `Desk.open_requests`."""
        answer = self._ask(Frame({"do": "requests", "jobs": list(job_ids)}))
        return [RequestRow(**one) for one in answer["requests"]]

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `Desk.answer_request`."""
        self._ask(Frame({"do": "answer", "request": request_id, "answer": dict(answer)}))

    def fetch(self, folder: str, offsets: Mapping[str, int], interval_s: float) -> bool:
        """See `Fetcher.fetch`."""
        self._ask(
            Frame({"do": "fetch", "folder": folder, "offsets": dict(offsets), "interval_s": interval_s})
        )
        return self._take_fetched() is not None

    def fetched(self) -> Fetched | None:
        """See `Fetcher.fetched`; every answer tells it along, so that it need not be asked for by itself."""
        if self._fetched is None:
            self._ask(Frame({"do": "fetched"}))
        return self._take_fetched()

    def hurry(self) -> None:
        """See `Fetcher.hurry`."""
        self._ask(Frame({"do": "hurry"}))

    def stop_fetching(self) -> Fetched | None:
        """See `Fetcher.stop_fetching`."""
        self._ask(Frame({"do": "stop fetching"}))
        return self._take_fetched()

    def finish(self) -> bool:
        """See `Fetcher.finish`; there is nothing else to be said afterwards."""
        finishes = bool(self._ask(Frame({"do": "finish"})).get("finishes"))
        if finishes:
            self._line.close()
        return finishes

    def _take_fetched(self) -> Fetched | None:
        told, self._fetched = self._fetched, None
        if told is not None and told.late_s > PATIENCE_S:
            self._line.close()
            raise CourierGoneError(f"the courier has not looked for {told.late_s:.0f} s")
        return told

    def close(self) -> None:
        """See `Sink.close`; the courier's own connection is closed by then if nobody else needs it."""
        with suppress(StoreError):
            self._ask(Frame({"do": "leave"}))
        self._line.close()

    def _ask(self, frame: Frame) -> Mapping[str, Any]:
        try:
            self._line.write(frame.encoded())
            answer = read_frame(self._line)
        except (OSError, WireError) as error:
            self._line.close()
            raise CourierGoneError(f"the courier cannot be reached: {error}") from error
        if answer is None or "refused" in answer.head:
            self._line.close()
            raise CourierGoneError("the courier has ended" if answer is None else str(answer.head["refused"]))
        told = error_of(answer.head)
        if told is not None:
            raise told
        self.stray_rows = int(answer.head.get("stray_rows", 0))
        if "fetched" in answer.head:
            fetched, before = Fetched(**answer.head["fetched"]), self._fetched
            slowest_s = fetched.slowest_s if before is None else max(before.slowest_s, fetched.slowest_s)
            self._fetched = replace(fetched, slowest_s=slowest_s)
        return answer.head


class _Line:
    """A connection as a bare descriptor: a forked child that never closes its copy of it is not told off for that.

    Reading and writing raise OSError, also when the other side does nothing for `PATIENCE_S`.
    """

    def __init__(self, path: Path) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(PATIENCE_S, 0))
            with name_of(path) as name:
                connection.connect(name)
        except OSError:
            connection.close()
            raise
        self._fd: int | None = connection.detach()
        self._left = b""

    def read(self, size: int, /) -> bytes:
        # An answer is mostly there as a whole: each call of the system gives the interpreter away.
        while len(self._left) < size and (piece := os.read(self._open(), max(size, _ANSWER_BYTES))):
            self._left += piece
        found, self._left = self._left[:size], self._left[size:]
        return found

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._open(), left) :]

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _open(self) -> int:
        if self._fd is None:
            raise OSError("the line was cut before")
        return self._fd
