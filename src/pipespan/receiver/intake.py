"""Writes what requests carry, and says so only when it is in the database."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pipespan.errors import RefusedError, StoreError
from pipespan.model.rows import LogRow, Row, RowType
from pipespan.model.semconv import OWN_THREAD_PREFIX
from pipespan.model.status import ERROR_LEVELS
from pipespan.otlp.decode import Decoder, Signal, UndecodableError
from pipespan.otlp.decoded import Decoded
from pipespan.receiver.answers import Answer
from pipespan.receiver.committer import Committer
from pipespan.receiver.inflate import TooLargeError, UnsupportedError, inflate
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import decode_line, encode_row

LANE: Final = "otlp"
"""Lane of the ledger under which requests are noted, so that one that is sent twice is written once."""

MAX_BUG_REPEATS: Final = 3
"""A request that we fail on is answered "try again" so often; then it is refused, or its sender would try for ever."""

LARGE_BYTES: Final = 2 << 20
"""A request that is larger is decoded apart, so that it does not hold up all others; those take turns, since threads
that decode at the same time only get in each other's way."""

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


@dataclass(frozen=True, slots=True)
class Body:
    """A request as it came.

    Attributes:
        signal: what it carries.
        packed: its bytes.
        encoding: how they are packed, as in `Content-Encoding`.
        is_json: OTLP/JSON and not protobuf.
    """

    signal: Signal
    packed: bytes
    encoding: str = ""
    is_json: bool = False


class Intake:
    """Decodes and writes requests; used by one event loop.

    Args:
        decoder: maps requests to rows.
        committer: writes them.
        gate: hides secrets.
        wait_s: how long a request waits for the database before its sender is asked to come again.
    """

    def __init__(
        self, decoder: Decoder, committer: Committer, gate: Callable[[Row], Row], *, wait_s: float
    ) -> None:
        self._decoder = decoder
        self._committer = committer
        self._gate = gate
        self._wait_s = wait_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"{OWN_THREAD_PREFIX}otlp-decode")
        self._large = ThreadPoolExecutor(1, thread_name_prefix=f"{OWN_THREAD_PREFIX}otlp-large")
        self._failures: OrderedDict[bytes, int] = OrderedDict()
        self.tally = Tally()

    async def take(self, body: Body) -> Answer:
        """Write what `body` carries; returns when it is committed, or why it is not. Raises only CancelledError."""
        answer = await self._take(body)
        self.tally.requests[answer.kind] += 1
        return answer

    async def _take(self, body: Body) -> Answer:
        digest = b""
        try:
            pool = self._pool if len(body.packed) <= LARGE_BYTES else self._large
            digest, decoded, batch = await asyncio.get_running_loop().run_in_executor(pool, self._read, body)
            rejected, reasons = decoded.rejected, decoded.reasons
            if batch is not None:
                refused = await asyncio.wait_for(self._write(digest, decoded, batch), self._wait_s)
                rejected += len(refused)
                reasons = [*reasons, *refused[:1]]
            return Answer("accepted", "; ".join(reasons), rejected)
        except TooLargeError as error:
            return Answer("too_large", str(error))
        except UnsupportedError as error:
            return Answer("unsupported", str(error))
        except UndecodableError as error:
            return Answer("undecodable", f"not an OTLP request for {body.signal}: {error}")
        except StoreError as error:
            return Answer("unavailable", f"the database cannot take it now: {error}")
        except (asyncio.TimeoutError, TimeoutError):
            return Answer("unavailable", "the database does not take it in time")
        except Exception as bug:  # noqa: BLE001 - a 500 would make senders drop what they hold
            return self._failed(digest or hashlib.sha256(body.packed).digest(), bug)

    def _read(self, body: Body) -> tuple[bytes, Decoded, Batch | None]:
        try:
            payload = inflate(body.packed, body.encoding)
        except (TooLargeError, UnsupportedError):
            raise
        except ValueError as error:
            raise UndecodableError(str(error)) from error
        digest = hashlib.sha256(body.signal.encode() + payload).digest()
        decoded = self._decoder.decode(body.signal, payload, is_json=body.is_json, now_unix_ns=time.time_ns())
        return digest, decoded, None if decoded.is_empty else self._batch(digest, decoded)

    def _failed(self, digest: bytes, bug: Exception) -> Answer:
        count = self._failures.pop(digest, 0) + 1
        self._failures[digest] = count
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        if count > MAX_BUG_REPEATS:
            return Answer("undecodable", f"this request cannot be processed: {type(bug).__name__}")
        return Answer("unavailable", f"processing failed: {type(bug).__name__}")

    async def _write(self, digest: bytes, decoded: Decoded, batch: Batch) -> list[str]:
        """Write what was decoded; return the reasons of the rows that the database refused."""
        try:
            is_new = await asyncio.wrap_future(self._committer.submit(batch))
        except RefusedError as refusal:
            return await self._write_parts(digest, decoded, refusal)
        if is_new:
            self.tally.rows += decoded.row_count
        else:
            self.tally.repeated += 1
        return []

    async def _write_parts(self, digest: bytes, decoded: Decoded, refusal: RefusedError) -> list[str]:
        """Write halves, and halves of those, until what is refused stands alone."""
        rows = [*decoded.rows, *_rows_of(decoded)]
        if len(rows) <= 1:
            return [str(refusal)]
        refused: list[str] = []
        middle = len(rows) // 2
        # Halves have names of their own, the same ones each time, so a repeated request finds what is done.
        for mark, part in ((b"0", rows[:middle]), (b"1", rows[middle:])):
            half = Decoded(part)
            if mark == b"1":
                half.span_lines = decoded.span_lines
            name = hashlib.sha256(digest + mark).digest()
            refused += await self._write(name, half, self._batch(name, half))
        return refused

    def _batch(self, digest: bytes, decoded: Decoded) -> Batch:
        gate = self._gate
        return make_batch(digest, [gate(row) for row in decoded.rows], decoded)

    def close(self, timeout_s: float) -> None:
        """Write what is in work and end; never raises."""
        self._pool.shutdown()
        self._large.shutdown()
        self._committer.close(timeout_s)


def _rows_of(decoded: Decoded) -> list[Row]:
    return [decode_line(row_type, line) for row_type, lines in decoded.lines.items() for line in lines]


def make_batch(digest: bytes, rows: Sequence[Row], decoded: Decoded) -> Batch:
    """Return what a request writes, under the name that its content gives it.

    Args:
        digest: of the content.
        rows: of `decoded`, with their secrets hidden.
        decoded: has the lines that are written already, and the spans that are noted.
    """
    lines: dict[RowType, list[bytes]] = {row_type: list(some) for row_type, some in decoded.lines.items()}
    errors = Counter(decoded.error_logs)
    for row in rows:
        lines.setdefault(type(row), []).append(encode_row(row))
        if isinstance(row, LogRow) and row.level in ERROR_LEVELS:
            errors[row.experiment_id] += 1
    spans = decoded.span_lines
    size_bytes = sum(sum(map(len, some)) for some in (*lines.values(), spans))
    return Batch(StreamKey(str(UUID(bytes=digest[:16])), LANE), 0, size_bytes, lines, errors, spans)
