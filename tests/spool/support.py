"""A spool in a folder of the test's own, and a sink that does what a schedule says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipespan.errors import RefusedError, StoreUnavailableError
from pipespan.spool.delivery import Delivery
from pipespan.spool.layout import Lane
from pipespan.spool.notices import Notices
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Batch, StreamKey, offset_error

Fault = Literal["ok", "away", "lost answer"]
TARGET = "postgres:tests"


def new_writer(*spool_dirs: Path, segment_bytes: int = 1 << 20, max_bytes: int = 1 << 30) -> SpoolWriter:
    return SpoolWriter(
        spool_dirs, target=TARGET, segment_bytes=segment_bytes, max_bytes=max_bytes, notices=Notices()
    )


def nobody_cares(_lane: Lane, _offset: int) -> None:
    """Takes acknowledgements where a test does not look at them."""


def delivery_of(
    folder: Path, *, batch_bytes: int = 1 << 20, acknowledged: Callable[[Lane, int], None] = nobody_cares,
    is_new: bool = False,
) -> Delivery:  # fmt: skip
    return Delivery(folder, batch_bytes, Notices(), acknowledged, is_new=is_new)


def lines_of(batch: Batch) -> list[bytes]:
    return [line for pieces in batch.lines.values() for line in b"".join(pieces).splitlines(keepends=True)]


@dataclass
class ScriptedSink:
    """Keeps lines by lane with a ledger, as a database would, and fails as the schedule says, call by call.

    "away": nothing is written; "lost answer": written, and the caller never hears of it.
    """

    schedule: Iterator[Fault] = field(default_factory=lambda: iter(()))
    refuses: Callable[[bytes], bool] = lambda line: False
    ledger: dict[StreamKey, int] = field(default_factory=dict)
    lines: dict[str, list[bytes]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    calls: int = 0
    is_closed: bool = False
    guard: threading.Lock = field(default_factory=threading.Lock)

    def ship(self, *batches: Batch) -> None:
        with self.guard:
            self.calls += 1
            fault = next(self.schedule, "ok")
            if fault == "away":
                raise StoreUnavailableError("the server is away")
            for batch in batches:
                stands = self.ledger.get(batch.key, 0)
                if stands != batch.start_bytes:
                    raise offset_error(batch, stands)
                for line in lines_of(batch):
                    if self.refuses(line):
                        raise RefusedError(f"will not have {line!r}")
            for batch in batches:
                self.ledger[batch.key] = batch.end_bytes
                self.lines.setdefault(batch.key.lane, []).extend(lines_of(batch))
                self.errors.update(batch.error_logs)
            self.order.append("+".join(batch.key.lane for batch in batches))
            if fault == "lost answer":
                raise StoreUnavailableError("the answer was lost")

    def offset(self, key: StreamKey) -> int:
        with self.guard:
            return self.ledger.get(key, 0)

    def close(self) -> None:
        self.is_closed = True
