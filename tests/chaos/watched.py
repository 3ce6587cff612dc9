"""Programs that are watched while they run: what the database says of them, polled with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from pipespan.model.records import EventRecord
from pipespan.query.status import StatusView, status
from pipespan.store.postgres.read import PostgresSource
from tests.wiring.programs import Programs

ResultT = TypeVar("ResultT")

WITHIN_S = 25.0


class Watched(Programs):
    """Programs that ship to a database, and a reader of it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        super().__init__(folder, {"PIPESPAN_DSN": dsn})
        self.source = PostgresSource(dsn)

    def until(self, look: Callable[[], ResultT | None], within_s: float = WITHIN_S) -> ResultT:
        deadline = time.monotonic() + within_s
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"not seen within {within_s} s; events: {self.told()}"
            time.sleep(0.05)

    def events(self, event_type: str) -> list[EventRecord]:
        newest = self.source.experiments(limit=1)
        if not newest:
            return []
        events = self.source.events(newest[0].id, limit=100)
        return [event for event in events if event.event_type == event_type]

    def event(self, event_type: str, within_s: float = WITHIN_S) -> EventRecord:
        return self.until(lambda: next(iter(self.events(event_type)), None), within_s)

    def told(self) -> list[str]:
        newest = self.source.experiments(limit=1)
        return [event.title for event in self.source.events(newest[0].id, limit=100)] if newest else []

    def view(self) -> StatusView:
        return status(self.source, "last", datetime.now(timezone.utc))


@contextmanager
def watched_programs(folder: Path, dsn: str) -> Iterator[Watched]:
    """Give programs, and end them afterwards."""
    made = Watched(folder, dsn)
    try:
        yield made
    finally:
        made.end()
        made.source.close()
