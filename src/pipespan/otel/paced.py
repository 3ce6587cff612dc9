"""Exports in small pieces, so that the program that is watched goes on meanwhile.

To encode a batch takes the SDK tens of milliseconds of Python. A thread that computes gives the interpreter away every
five of them only, and each write to the spool hands it back: a program in a burst of steps or of log lines would stand
still until the batch is encoded. So a burst is let go by as long as there is room for what comes meanwhile, and whoever
iterates over a batch sleeps after each short slice of work. A backlog ends that: of batches that follow each other at
once the second is hurried, and the third is not held up at all. Nor is what somebody waits for, a flush or the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from pipespan.model import semconv

SLICE_S: Final = 0.0005
"""Work between two pauses; one record at least."""

PAUSE_S: Final = 0.005
"""A pause: the program has ten parts in eleven of the interpreter."""

PAUSES: Final = (32, 10, 0)
"""Most pauses in a batch: in the first one, in one that follows at once, and in all after that."""

FOLLOWS_S: Final = 0.01
"""A batch that comes sooner than this after another has waited for it."""

CALM_S: Final = 1.0
"""So long a burst may put off what is told of it."""

LOOK_S: Final = 0.05
"""A burst in which nothing came for so long is over."""

ROOM: Final = 4
"""The part of the queue that may fill before a burst has to share the interpreter: a fourth."""

QUEUE: Final = 8_192
"""What may wait where the environment says nothing: in those pauses a loop that does nothing else makes 5,000 spans."""


class Pace:
    """Says when a thread pauses that works in the background."""

    def __init__(self) -> None:
        # Of objects and not a number: adding to a set is one step, whichever threads do it, and needs no lock.
        self._waiting: set[object] = set()

    @contextmanager
    def at_once(self) -> Generator[None, None, None]:
        """Make no pauses while the block runs: somebody waits."""
        one = object()
        self._waiting.add(one)
        try:
            yield
        finally:
            self._waiting.discard(one)

    def await_calm(self, waiting: Callable[[], int], room: int) -> bool:
        """Wait while a burst goes on.

        Args:
            waiting: tells how many records wait to be worked on.
            room: so many may.

        Returns:
            Whether there is more room.
        """
        until_s, before = time.monotonic() + CALM_S, -1
        while (
            (now := waiting()) < room and now != before and not self._waiting and time.monotonic() < until_s
        ):
            before = now
            time.sleep(LOOK_S)
        return now < room

    def pauses(self, most: int) -> Callable[[], None]:
        """Return what is called between two pieces of work and sleeps when it is time, `most` times."""
        left, began_s = most, time.perf_counter()

        def pause() -> None:
            nonlocal left, began_s
            if left and time.perf_counter() - began_s >= SLICE_S and not self._waiting:
                time.sleep(PAUSE_S)
                left, began_s = left - 1, time.perf_counter()

        return pause


class PacedExporter:
    """An exporter of spans or of log records that pauses between them.

    Args:
        inner: exports; it iterates over the batch while it encodes.
        waiting: tells how many records wait for the next batch.
        room: so many may before a burst has to share the interpreter; with none no burst is let go by.
    """

    def __init__(self, inner: Any, waiting: Callable[[], int] = int, room: int = 0) -> None:
        self.inner = inner
        self.pace = Pace()
        self._waiting = waiting
        self._room = room
        self._rank = 0
        self._ended_s = 0.0

    def export(self, batch: Sequence[Any]) -> Any:
        """Export `batch`."""
        follows = time.monotonic() - self._ended_s < FOLLOWS_S
        if follows:
            self._rank = min(self._rank + 1, len(PAUSES) - 1)
        else:
            has_room = not self._room or self.pace.await_calm(self._waiting, self._room)
            self._rank = 0 if has_room else 1
        try:
            return self.inner.export(_Paced(batch, self.pace.pauses(PAUSES[self._rank])))
        finally:
            self._ended_s = time.monotonic()

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return bool(self.inner.force_flush(timeout_millis))


class _Paced(Sequence[Any]):
    """A batch whose iteration pauses now and then."""

    def __init__(self, batch: Sequence[Any], pause: Callable[[], None]) -> None:
        self._batch = batch
        self._pause = pause

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: Any) -> Any:
        return self._batch[index]

    def __iter__(self) -> Iterator[Any]:
        for record in self._batch:
            self._pause()
            yield record


class PacedSpanProcessor(BatchSpanProcessor):
    """The SDK's batch processor of spans, with pauses while nobody waits."""

    def __init__(self, exporter: Any, environ: Mapping[str, str]) -> None:
        size = _queue_size(environ, semconv.ENV_BSP_MAX_QUEUE_SIZE)
        self._paced = PacedExporter(exporter, lambda: _waiting_in(self), (size or 0) // ROOM)
        super().__init__(cast("Any", self._paced), max_queue_size=size)

    def shutdown(self) -> None:
        """Export what waits, and end."""
        with self._paced.pace.at_once():
            super().shutdown()  # type: ignore[no-untyped-call] # as the SDK has it

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export what waits."""
        with self._paced.pace.at_once():
            return super().force_flush(timeout_millis)


class PacedLogRecordProcessor(BatchLogRecordProcessor):
    """The SDK's batch processor of log records, with pauses while nobody waits."""

    def __init__(self, exporter: Any, environ: Mapping[str, str]) -> None:
        size = _queue_size(environ, semconv.ENV_BLRP_MAX_QUEUE_SIZE)
        self._paced = PacedExporter(exporter, lambda: _waiting_in(self), (size or 0) // ROOM)
        super().__init__(cast("Any", self._paced), max_queue_size=size)

    def shutdown(self) -> None:
        """Export what waits, and end."""
        with self._paced.pace.at_once():
            super().shutdown()  # type: ignore[no-untyped-call] # as the SDK has it

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        with self._paced.pace.at_once():
            return super().force_flush(timeout_millis)


def _queue_size(environ: Mapping[str, str], name: str) -> int | None:
    """Return how much may wait, None where the SDK finds that in the environment."""
    return None if environ.get(name) else QUEUE


def _waiting_in(processor: Any) -> int:
    """Return how many records wait in a batch processor; 0 where the SDK keeps them in another place."""
    return len(getattr(getattr(processor, "_batch_processor", None), "_queue", ()))
