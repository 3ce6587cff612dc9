"""Warms a connection up: what the first rows would wait for is done before they come."""

from __future__ import annotations

import time
import uuid
from typing import Final

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import encode_rows
from pipespan.store.postgres.brief import ROLLBACK, OneMessage
from pipespan.store.postgres.connect import Connection, Scope
from pipespan.store.postgres.filling import write_batches
from pipespan.store.sqlfiles import SqlFiles

_NOBODYS_STREAM: Final = str(uuid.UUID(int=0))
_NAME: Final = "rehearsal"


def rehearse(connection: Connection, scope: Scope, sql: SqlFiles) -> None:
    """Write a small tree that nobody owns, as the first rows of a program come, and take it back.

    Once for each connection the server makes temporary tables, loads what it has to know of the others, and plans each
    statement: 30 ms for rows that take 2 ms later on.

    Raises:
        psycopg.Error: the database does not take the rows; nothing was written.
    """
    # Committed, or the tables would go again. The ledger of this stream is moved from 0 to 0.
    tables = OneMessage(connection, scope, sql)
    ledger = {"stream_ids": [_NOBODYS_STREAM], "lanes": ["keep"], "starts_bytes": [0], "ends_bytes": [0]}
    tables.open("open_batches", {**ledger, "has_owners": True, "has_nodes": True})
    tables.send()
    rows = OneMessage(connection, scope, sql)
    for batch in _batches():
        write_batches(rows, [batch])
    rows.send(ROLLBACK)


def _batches() -> list[Batch]:
    """Return what a program ships first, and what comes next; of each table there is a row."""
    stream_id, experiment_id, job_id = (str(uuid.uuid4()) for _ in range(3))
    now = time.time_ns()
    experiment = ExperimentRow(
        id=experiment_id, name=_NAME, status="running", params={}, tags=(), command=None, host=None, user_name=None,
        git_commit=None, started_at=now, ended_at=None, trace_id=None, attempt=1, version=1,
    )  # fmt: skip
    job = JobRow(
        id=job_id, experiment_id=experiment_id, attempt=1, parent_job_id=None, host=_NAME, boot_id=None, pid=1,
        process_started_at=None, status="running", cause=None, exit_code=None, exit_signal=None, evidence={},
        command=None, started_at=now, heartbeat_at=now, progress_at=now, ended_at=None, log_messages=(), version=1,
    )  # fmt: skip
    root = NodeRow(
        experiment_id=experiment_id, node_id=_NAME, node_level="pipeline", parent_id=None, node_name=_NAME,
        status="running", completed_units=0, total_units=None, unit=None, weight=1.0, message=None, error_type=None,
        start_time=now, end_time=None, metadata={}, trace_id=None, span_id=None, job_id=job_id, attempt=1, version=1,
    )  # fmt: skip
    step = root._replace(node_id=f"{_NAME}/step", parent_id=_NAME, node_level="step")
    log = LogRow(
        experiment_id=experiment_id, job_id=job_id, node_id=_NAME, timestamp=now, level="INFO", severity_number=9,
        logger_name=_NAME, message=_NAME, context=None, traceback=None, error_type=None, performance=None,
        trace_id=None, span_id=None,
    )  # fmt: skip
    event = EventRow(
        experiment_id=experiment_id, job_id=job_id, node_id=_NAME, event_type=_NAME, source=_NAME, severity="INFO",
        title=_NAME, details={}, timestamp=now,
    )  # fmt: skip
    metric = MetricRow(
        experiment_id=experiment_id, job_id=job_id, node_id=None, timestamp=now, memory_mb=None, cpu_percent=None,
        disk_usage_mb=None, throughput_per_sec=None, custom_metrics=None,
    )  # fmt: skip
    key = StreamKey(stream_id, "keep")
    first = encode_rows([experiment, job, root, step])
    next_ = encode_rows(
        [root._replace(version=2), step._replace(status="completed", version=2), log, event, metric]
    )
    return [Batch(key, 0, 1, first), Batch(key, 1, 2, next_)]
