"""The courier's way to the database: what several programs hand over at a time goes there in one transaction."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pipespan.errors import OffsetError, RefusedError, StoreError
from pipespan.store.base import Batch, CommonSink
from pipespan.store.courier.inquiries import Inquiries
from pipespan.store.courier.wire import Frame, WireError, batches_of, error_frame, key_of

BIG_BYTES: Final = 1 << 20
"""No more goes into one transaction; who has more to ship at once gets a connection of its own."""

GATHER_S: Final = 0.02
"""So long a batch waits for those of other programs, which come at the same moments (`pipespan.spool.turns`)."""

_OWN_ERRORS: Final = frozenset({OffsetError.__name__, RefusedError.__name__})
"""What a batch of one program brings about, and is no matter of the others that were shipped along with it."""

_TROUBLES: Final = frozenset({"error", "refused"})
"""What the head of an answer has where nothing was done."""


@dataclass(slots=True)
class _Errand:
    """What one program hands over at a time; the answer is there once somebody has shipped it."""

    batches: Sequence[Batch]
    size_bytes: int
    answer: Frame | None = None


class Way:
    """A way to the database, opened when it is needed, and anew after a failure; one at a time may use it.

    Whoever gets to use it ships all that waits: a transaction costs hardly more for ten programs than for one.

    Args:
        open_sink: opens it.
        company: how many programs may come this way.
    """

    def __init__(self, open_sink: Callable[[], CommonSink], company: Callable[[], int]) -> None:
        self._open_sink = open_sink
        self._company = company
        self._sink: CommonSink | None = None
        self._lock = threading.Lock()
        self._waiting: deque[_Errand] = deque()
        self._inquiries = Inquiries()

    def open(self) -> None:
        """Open it before somebody needs it, as far as that can be; what is wrong is told to whoever needs it then."""
        with self._lock:
            if self._sink is None:
                self._told(_get_ready)

    def answer(self, frame: Frame) -> Frame:
        """Carry out what a frame asks for; return what is to be told, whatever happens."""
        if frame.head.get("do") == "ship":
            return self._shipped(frame)
        with self._lock:
            return self._told(lambda sink: self._do(sink, frame))

    def ship_shares(self, shares: Sequence[Sequence[Batch]]) -> list[bool]:
        """Ship what several programs have, each its share, together where that can be; tell whose was shipped."""
        errands = [
            _Errand(share, sum(batch.end_bytes - batch.start_bytes for batch in share)) for share in shares
        ]
        self._waiting.extend(errands)
        with self._lock:
            arrived = [not _TROUBLES.intersection(self._answer_to(errand).head) for errand in errands]
            if not self._company():  # the last one has left meanwhile
                self._close_sink()
        return arrived

    @property
    def stray_rows(self) -> int:
        """See `PostgresSink`."""
        return int(getattr(self._sink, "stray_rows", 0))

    def close(self, unless: Callable[[], bool] = bool) -> None:
        """Give the connection back, if nobody came meanwhile."""
        with self._lock:
            if not unless():
                self._close_sink()

    def _shipped(self, frame: Frame) -> Frame:
        try:
            errand = _Errand(batches_of(frame), len(frame.body))
        except WireError as error:
            return _refusal(error)
        self._waiting.append(errand)
        with self._lock:
            is_pressing = frame.head.get("pressing", False)
            if errand.answer is None and not is_pressing and len(self._waiting) < self._company():
                time.sleep(GATHER_S)
            return self._answer_to(errand)

    def _answer_to(self, errand: _Errand) -> Frame:
        while errand.answer is None:
            self._ship(self._next())
        return errand.answer

    def _next(self) -> list[_Errand]:
        taken = [self._waiting.popleft()]
        room_bytes = BIG_BYTES - taken[0].size_bytes
        while self._waiting and self._waiting[0].size_bytes <= room_bytes:
            taken.append(self._waiting.popleft())
            room_bytes -= taken[-1].size_bytes
        return taken

    def _ship(self, errands: Sequence[_Errand]) -> None:
        together = self._told(_shipping(errands))
        goes_alone = len(errands) > 1 and together.head.get("error") in _OWN_ERRORS
        for errand in errands:
            errand.answer = self._told(_shipping([errand])) if goes_alone else together

    def _told(self, act: Callable[[CommonSink], Mapping[str, Any]]) -> Frame:
        try:
            return self._carried_out(act)
        except StoreError as error:
            return error_frame(error)
        except Exception as error:  # noqa: BLE001 - the program ships by itself then
            return _refusal(error)

    def _carried_out(self, act: Callable[[CommonSink], Mapping[str, Any]]) -> Frame:
        if self._sink is None:
            self._sink = self._open_sink()
        try:
            told = act(self._sink)
        except (OffsetError, RefusedError):
            raise
        except BaseException:
            self._close_sink()
            raise
        return Frame(told)

    def _do(self, sink: CommonSink, frame: Frame) -> Mapping[str, Any]:
        head = frame.head
        match head["do"]:
            case "offset":
                return {"offset": sink.offset(key_of(head))}
            case "requests":
                return {
                    "requests": [asdict(one) for one in self._inquiries.open_requests(sink, head["jobs"])]
                }
            case "answer":
                sink.answer_request(head["request"], head["answer"])
            case other:
                raise WireError(f"nobody knows how to {other!r}")
        return {}

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _refusal(error: Exception) -> Frame:
    return Frame({"refused": f"the courier failed: {error!r}"})


def _get_ready(sink: CommonSink) -> Mapping[str, Any]:
    sink.get_ready()
    return {}


def _shipping(errands: Sequence[_Errand]) -> Callable[[CommonSink], Mapping[str, Any]]:
    def ship(sink: CommonSink) -> Mapping[str, Any]:
        sink.ship(*(batch for errand in errands for batch in errand.batches))
        return {}

    return ship
