"""Writes what requests carry, and says so only when it is in the database."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pipespan.errors import OffsetError, RefusedError, StoreError
from pipespan.model.rows import LogRow, Row, RowType
from pipespan.model.status import ERROR_LEVELS
from pipespan.otlp.decode import Decoder, Signal, UndecodableError
from pipespan.receiver.answers import Answer
from pipespan.store.base import Batch, Sink, StreamKey
from pipespan.store.copytext import encode_row

if TYPE_CHECKING:
    from collections.abc import Iterator

LANE: Final = "otlp"
"""Lane of the ledger under which requests are noted, so that one that is sent twice is written once."""

MAX_BUG_REPEATS: Final = 3
"""A request that we fail on is answered "try again" so often; then it is refused, or its sender would try for ever."""

_REMEMBERED: Final = 1_000


@dataclass(slots=True)
class Tally:
    """What was done so far, for `/health`."""

    requests: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    repeated: int = 0

    def as_object(self) -> dict[str, Any]:
        """Return what JSON can show; `asdict` makes a Counter of its pairs."""
        return {"requests": dict(self.requests), "rows": self.rows, "repeated": self.repeated}


class Intake:
    """Decodes and writes requests; many threads may ask at once.

    Args:
        decoder: maps requests to rows.
        connect: opens a sink; called when one is needed, and again after one has broken.
        gate: hides secrets.
        sinks: how many requests are written at the same time.
        wait_s: how long a request waits for its turn before its sender is asked to come again.
    """

    def __init__(
        self,
        decoder: Decoder,
        connect: Callable[[], Sink],
        gate: Callable[[Row], Row],
        *,
        sinks: int,
        wait_s: float,
    ) -> None:
        self._decoder = decoder
        self._connect = connect
        self._gate = gate
        self._wait_s = wait_s
        self._free: queue.LifoQueue[Sink | None] = queue.LifoQueue()
        for _ in range(sinks):
            self._free.put(None)
        self._lock = threading.Lock()
        self._failures: OrderedDict[bytes, int] = OrderedDict()
        self.tally = Tally()

    def take(self, signal: Signal, payload: bytes, *, is_json: bool = False) -> Answer:
        """Write what `payload` carries; returns when it is committed, or why it is not. Never raises."""
        answer = self._take(signal, payload, is_json=is_json)
        with self._lock:
            self.tally.requests[answer.kind] += 1
        return answer

    def _take(self, signal: Signal, payload: bytes, *, is_json: bool) -> Answer:
        digest = hashlib.sha256(signal.encode() + payload).digest()
        try:
            decoded = self._decoder.decode(signal, payload, is_json=is_json, now_unix_ns=time.time_ns())
            rejected, reasons = decoded.rejected, decoded.reasons
            if decoded.rows:
                refused = self._write(digest, [self._gate(row) for row in decoded.rows])
                rejected += len(refused)
                reasons = [*reasons, *refused[:1]]
            return Answer("accepted", "; ".join(reasons), rejected)
        except UndecodableError as error:
            return Answer("undecodable", f"not an OTLP request for {signal}: {error}")
        except StoreError as error:
            return Answer("unavailable", f"the database cannot take it now: {error}")
        except queue.Empty:
            return Answer("unavailable", "too many requests at once")
        except Exception as bug:  # noqa: BLE001 - a 500 would make senders drop what they hold
            return self._failed(digest, bug)

    def _failed(self, digest: bytes, bug: Exception) -> Answer:
        with self._lock:
            count = self._failures.pop(digest, 0) + 1
            self._failures[digest] = count
            if len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
        if count > MAX_BUG_REPEATS:
            return Answer("undecodable", f"this request cannot be processed: {type(bug).__name__}")
        return Answer("unavailable", f"processing failed: {type(bug).__name__}")

    def _write(self, digest: bytes, rows: Sequence[Row]) -> list[str]:
        """Write `rows`; return the reasons of those that the database refused."""
        with self._sink() as sink:
            return self._write_part(sink, digest, rows)

    def _write_part(self, sink: Sink, digest: bytes, rows: Sequence[Row]) -> list[str]:
        try:
            sink.ship(_batch(digest, rows))
        except OffsetError:
            # The ledger has it: it was sent before, and the acknowledgement was lost.
            with self._lock:
                self.tally.repeated += 1
        except RefusedError as refusal:
            if len(rows) == 1:
                return [str(refusal)]
            # Halves have names of their own, the same ones each time, so a repeated request finds what is done.
            middle = len(rows) // 2
            return [
                reason
                for mark, part in ((b"0", rows[:middle]), (b"1", rows[middle:]))
                for reason in self._write_part(sink, hashlib.sha256(digest + mark).digest(), part)
            ]
        else:
            with self._lock:
                self.tally.rows += len(rows)
        return []

    @contextmanager
    def _sink(self) -> Iterator[Sink]:
        sink = self._free.get(timeout=self._wait_s)
        try:
            if sink is None:
                sink = self._connect()
            yield sink
        except StoreError:
            if sink is not None:
                sink.close()
            sink = None
            raise
        finally:
            self._free.put(sink)

    def close(self) -> None:
        """Close the sinks that are not in use; never raises."""
        while True:
            try:
                sink = self._free.get_nowait()
            except queue.Empty:
                return
            if sink is not None:
                sink.close()


def _batch(digest: bytes, rows: Sequence[Row]) -> Batch:
    lines: dict[RowType, list[bytes]] = {}
    errors: Counter[str] = Counter()
    for row in rows:
        lines.setdefault(type(row), []).append(encode_row(row))
        if isinstance(row, LogRow) and row.level in ERROR_LEVELS:
            errors[row.experiment_id] += 1
    return Batch(
        StreamKey(str(UUID(bytes=digest[:16])), LANE), 0, sum(map(len, (b for one in lines.values() for b in one))),
        lines, errors,
    )  # fmt: skip
