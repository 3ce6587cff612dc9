"""Ends the record of processes that were killed on request, once they are known to be gone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from pipespan.model.rows import ExperimentRow, JobRow, NodeRow, Row, RowType, columns
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.resolve import by_id
from pipespan.spool.batches import build_batch
from pipespan.spool.layout import TAGS
from pipespan.store.base import StreamKey
from pipespan.store.copytext import encode_row

if TYPE_CHECKING:
    from pipespan.model.records import JobRecord
    from pipespan.store.base import Sink, Source

RowT = TypeVar("RowT", ExperimentRow, JobRow, NodeRow)


def close_cancelled(
    source: Source, sink: Sink, experiment_id: str, gone: Collection[str], asked_by: str, how: str
) -> bool:
    """End what the jobs `gone` left open as cancelled, and the experiment if nobody else works on it.

    What has a final status by now keeps it.

    Args:
        source: where to read what is open.
        sink: where to write.
        experiment_id: which experiment.
        gone: ids of jobs whose processes do not exist any more.
        asked_by: who asked them to stop.
        how: what ended them, such as SIGTERM.

    Returns:
        Whether the experiment is over now.

    Raises:
        StoreError: the database does not answer.
    """
    jobs = source.jobs(experiment_id)
    cause = f"cancelled by {asked_by}"
    rows: list[Row] = [
        _ended(NodeRow, node, end_time=_now_ns(), message=cause)
        for node in source.nodes(experiment_id)
        if node.job_id in gone and node.status not in TERMINAL_STATUSES
    ]
    for job in jobs:
        if job.id in gone and job.status not in TERMINAL_STATUSES:
            evidence = {**job.evidence, "ended_by": how}
            rows.append(_ended(JobRow, job, ended_at=_now_ns(), cause=cause, evidence=evidence))
    experiment = by_id(source, experiment_id)
    is_over = experiment.status in TERMINAL_STATUSES
    if not is_over and not _others(jobs, gone):
        rows.append(_ended(ExperimentRow, experiment, ended_at=_now_ns()))
        is_over = True
    ship_rows(sink, rows, uuid.uuid4())
    return is_over


def ship_rows(sink: Sink, rows: Sequence[Row], stream_id: uuid.UUID) -> None:
    """Write rows of nobody's stream in one transaction; with the same `stream_id` they are written once.

    Raises:
        OffsetError: they were written before.
        StoreError: the database does not take them.
    """
    data = b"".join(TAGS[_type_of(row)] + encode_row(row) for row in rows)
    if data:
        sink.ship(build_batch(StreamKey(str(stream_id), "keep"), 0, len(data), data))


def _others(jobs: Sequence[JobRecord], gone: Collection[str]) -> bool:
    latest = max((job.attempt for job in jobs), default=0)
    return any(
        job.attempt == latest and job.id not in gone and job.status not in TERMINAL_STATUSES for job in jobs
    )


def _ended(row_type: type[RowT], record: Any, **changes: Any) -> RowT:
    known = asdict(record)
    values = {name: _plain(known[name]) for name in columns(row_type)}
    version = max(int(known["version"]) + 1, _now_ns())
    ended: dict[str, Any] = {**values, **changes, "status": "cancelled", "version": version}
    return row_type(**ended)


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    elapsed = value - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + elapsed.microseconds * 1_000


def _now_ns() -> int:
    return time.time_ns()


def _type_of(row: Row) -> RowType:
    return type(row)
