"""Writes requests in transactions: one each while there is little to do, many in one when they come faster."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeAlias

from pipespan.errors import RefusedError, StoreError
from pipespan.model.semconv import OWN_THREAD_PREFIX
from pipespan.store.base import Batch, RequestSink

MAX_GROUP: Final = 64
"""Most requests of one transaction."""

MAX_GROUP_BYTES: Final = 8 << 20
"""A transaction takes no further request once it has so many bytes: others wait for its locks."""

PRUNE_INTERVAL_S: Final = 3600.0
"""How often requests that nobody sends again are forgotten."""

Outcome: TypeAlias = "Future[bool]"
"""True once it is written, False when it had been written before."""


class Committer:
    """A few threads, each with a sink of its own.

    Args:
        connect: opens a sink.
        sinks: how many transactions there are at the same time: while one waits for the disk, others go on.
    """

    def __init__(self, connect: Callable[[], RequestSink], *, sinks: int) -> None:
        self._connect = connect
        self._queue: queue.SimpleQueue[tuple[Batch, Outcome] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(
                target=self._run, args=(number,), name=f"{OWN_THREAD_PREFIX}otlp-{number}", daemon=True
            )
            for number in range(sinks)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Batch) -> Outcome:
        """Have `batch` written.

        The outcome raises what `RequestSink.ship_requests` raises. One that is cancelled before its turn is left out.
        """
        outcome: Outcome = Future()
        self._queue.put((batch, outcome))
        return outcome

    def close(self, timeout_s: float) -> None:
        """Write what was submitted and end; never raises."""
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, number: int) -> None:
        sink: RequestSink | None = None
        prune_at_s = time.monotonic() if number == 0 else float("inf")
        while True:
            group, is_last = self._next_group()
            if group:
                sink = self._write(sink, group)
            if is_last:
                break
            if sink is not None and time.monotonic() >= prune_at_s:
                prune_at_s = time.monotonic() + PRUNE_INTERVAL_S
                with suppress(StoreError):  # it will be possible another time
                    sink.prune_requests()
        if sink is not None:
            sink.close()

    def _next_group(self) -> tuple[list[tuple[Batch, Outcome]], bool]:
        """Wait for a request and return it with those that wait behind it; and whether this was the last group."""
        found = self._queue.get()
        group: list[tuple[Batch, Outcome]] = []
        size_bytes = 0
        while found is not None:
            if found[1].set_running_or_notify_cancel():
                group.append(found)
                size_bytes += found[0].end_bytes
            if len(group) >= MAX_GROUP or size_bytes >= MAX_GROUP_BYTES:
                return group, False
            try:
                found = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, sink: RequestSink | None, group: Sequence[tuple[Batch, Outcome]]) -> RequestSink | None:
        try:
            if sink is None:
                sink = self._connect()
            known = set(sink.ship_requests([batch for batch, _ in group]))
        except RefusedError as refusal:
            if len(group) == 1:
                group[0][1].set_exception(refusal)
            else:  # one of them is bad: each by itself then
                for one in group:
                    sink = self._write(sink, [one])
        except BaseException as error:  # noqa: BLE001 - whoever waits has to be told
            for _, outcome in group:
                outcome.set_exception(error)
            if sink is not None:
                sink.close()
            return None
        else:
            for batch, outcome in group:
                outcome.set_result(batch.key not in known)
        return sink
