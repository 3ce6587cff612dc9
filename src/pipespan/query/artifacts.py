"""What the nodes of an experiment made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipespan.model.history import Artifact
from pipespan.model.records import EventRecord
from pipespan.store.base import Source
from pipespan.store.chronicle import EventFilter

EVENT_TYPE: Final = "artifact"
_KNOWN: Final = frozenset({"location", "kind", "size_bytes", "digest"})


def artifacts(
    source: Source, experiment_id: str, *, node_id: str | None, kind: str | None, limit: int
) -> list[Artifact]:
    """Return the newest artifacts of an experiment in order of time.

    Args:
        source: where to read.
        experiment_id: whose artifacts.
        node_id: only those of this node and of all below it.
        kind: only those of this kind.
        limit: at most so many.
    """
    wanted = EventFilter(event_type=EVENT_TYPE, node_id=node_id)
    if kind is None:
        return [artifact(one) for one in source.events(experiment_id, limit=limit, wanted=wanted)]
    # An experiment has many log lines and few artifacts: their kinds are looked at here.
    made = (artifact(one) for one in source.events(experiment_id, limit=2**31, wanted=wanted))
    found = [one for one in made if one.kind == kind]
    return found[-limit:] if limit > 0 else []


def artifact(event: EventRecord) -> Artifact:
    """Return the artifact that an event tells of."""
    details: Mapping[str, Any] = event.details if isinstance(event.details, Mapping) else {}
    size = details.get("size_bytes")
    return Artifact(
        id=event.id,
        experiment_id=event.experiment_id,
        job_id=event.job_id,
        node_id=event.node_id,
        timestamp=event.timestamp,
        location=str(details.get("location", event.title)),
        kind=_text(details.get("kind")),
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) else None,
        digest=_text(details.get("digest")),
        metadata={name: value for name, value in details.items() if name not in _KNOWN},
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
