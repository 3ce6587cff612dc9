"""What the events say of a process that cannot speak for itself, and of where one stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pipespan.model.health import Health
from pipespan.model.records import EventRecord, JobRecord

STALLED: Final = "stalled"
DUMPS: Final = frozenset({STALLED, "memory"})
"""Types of events that hold stacks."""

NEWEST: Final = 200
"""So many of the newest events are looked at."""


def with_held_interpreter(health: Health, jobs: Sequence[JobRecord], events: Sequence[EventRecord]) -> Health:
    """Return `health`; where an event on a held interpreter explains the silence, that is a stall."""
    if health.word != "lost contact":
        return health
    heartbeats = {job.id: job.heartbeat_at for job in jobs if job.ended_at is None}
    for event in reversed(events):
        heartbeat = heartbeats.get(event.job_id or "")
        if event.event_type == STALLED and heartbeat is not None and event.timestamp > heartbeat:
            return replace(health, word="stalled", reason=f"{health.reason}; {event.title}")
    return health


def newest_dump(events: Sequence[EventRecord]) -> EventRecord | None:
    """Return the newest event that holds stacks, None without one."""
    return next((event for event in reversed(events) if event.event_type in DUMPS), None)
