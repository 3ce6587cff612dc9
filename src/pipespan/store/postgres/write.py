"""The writing side: a batch of COPY lines becomes rows, exactly once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

from pipespan.errors import OffsetError, PipespanError
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, RowType
from pipespan.store.base import Batch, RequestRow, StreamKey, offset_error
from pipespan.store.postgres import migrate, requests
from pipespan.store.postgres.connect import Connection, Timeouts, open_connection, raise_translated
from pipespan.store.sqlfiles import SqlFiles, open_sql

DEFAULT_TIMEOUTS: Final = Timeouts(statement_s=60, lock_s=30)
PARTITIONS_INTERVAL_S: Final = 3600.0
PARTITIONS_DAYS_AHEAD: Final = 7
STAGING_USES: Final = 500
"""After so many batches the staging tables are exchanged, because emptying by DELETE lets them grow."""

_STAGED: Final[Mapping[RowType, str]] = {ExperimentRow: "experiments", JobRow: "jobs", NodeRow: "nodes"}
_DIRECT: Final[Mapping[RowType, str]] = {LogRow: "logs", EventRow: "events", MetricRow: "metrics"}


class PostgresSink:
    """Implements `pipespan.store.base.Sink`; connects at the first call and again after a failure."""

    def __init__(
        self,
        dsn: str,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        sql: SqlFiles | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._timeouts = timeouts
        self._sql = sql or open_sql()
        self._clock_s = clock_s
        self._connection: Connection | None = None
        self._owner_pid = 0
        self._partitions_at_s = 0.0
        self._staging_uses = 0

    def ship(self, batch: Batch) -> None:
        """See `Sink.ship`."""
        connection = self._ready()
        try:
            with connection.transaction():
                self._timeouts.apply(connection, self._sql)
                self._advance(connection, batch)
                self._write(connection, batch)
        except psycopg.Error as error:
            self._drop_if_broken()
            raise_translated(error)
        except OffsetError:
            raise
        except BaseException:
            # Interrupted in the middle of a COPY: the session's state is unknown.
            self.close()
            raise

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        connection = self._ready()
        try:
            return self._stands_at(connection, key)
        except psycopg.Error as error:
            self._drop_if_broken()
            raise_translated(error)

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `pipespan.store.base.Desk.open_requests`."""
        connection = self._ready()
        try:
            return requests.open_requests(connection, self._sql, job_ids)
        except psycopg.Error as error:
            self._drop_if_broken()
            raise_translated(error)

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `pipespan.store.base.Desk.answer_request`."""
        connection = self._ready()
        try:
            requests.answer_request(connection, self._sql, request_id, answer)
        except psycopg.Error as error:
            self._drop_if_broken()
            raise_translated(error)

    def close(self) -> None:
        """See `Sink.close`."""
        connection, self._connection = self._connection, None
        if connection is not None and self._owner_pid == os.getpid():
            with suppress(psycopg.Error):
                connection.close()

    def _ready(self) -> Connection:
        connection = self._connection
        if connection is not None and (connection.closed or self._owner_pid != os.getpid()):
            # After a fork the connection is the parent's: psycopg leaves it open there.
            connection = None
        if connection is None:
            connection = self._connect()
        if self._clock_s() - self._partitions_at_s >= PARTITIONS_INTERVAL_S:
            self._ensure_partitions(connection)
        return connection

    def _connect(self) -> Connection:
        connection = open_connection(self._dsn)
        try:
            migrate.require(connection, self._sql)
        except PipespanError:
            connection.close()
            raise
        self._connection = connection
        self._owner_pid = os.getpid()
        self._partitions_at_s = self._clock_s() - PARTITIONS_INTERVAL_S
        self._staging_uses = 0
        return connection

    def _ensure_partitions(self, connection: Connection) -> None:
        self._partitions_at_s = self._clock_s()
        # Without them rows go to the default partition: worth an alarm of the doctor, not a lost batch.
        with suppress(psycopg.Error), connection.transaction():
            self._timeouts.apply(connection, self._sql)
            connection.execute(self._sql.query("ensure_partitions"), {"days_ahead": PARTITIONS_DAYS_AHEAD})
        self._drop_if_broken()

    def _drop_if_broken(self) -> None:
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self.close()

    def _advance(self, connection: Connection, batch: Batch) -> None:
        position = {
            "stream_id": batch.key.stream_id,
            "lane": batch.key.lane,
            "start_bytes": batch.start_bytes,
            "end_bytes": batch.end_bytes,
        }
        moved = connection.execute(self._sql.query("advance_stream"), position).rowcount
        if moved != 1:
            raise offset_error(batch, self._stands_at(connection, batch.key))

    def _stands_at(self, connection: Connection, key: StreamKey) -> int:
        values = {"stream_id": key.stream_id, "lane": key.lane}
        row = connection.execute(self._sql.query("stream_offset"), values).fetchone()
        return 0 if row is None else int(row[0])

    def _write(self, connection: Connection, batch: Batch) -> None:
        # All that comes over the network comes first: afterwards locks are held, which others wait for.
        staged = batch.error_logs or any(batch.lines.get(row_type) for row_type in _STAGED)
        if staged:
            self._stage(connection, batch)
        for row_type, name in _DIRECT.items():
            self._copy(connection, f"copy_{name}", batch.lines.get(row_type, ()))
        if staged:
            self._merge(connection, batch)

    def _stage(self, connection: Connection, batch: Batch) -> None:
        names = _STAGED.values()
        self._staging_uses += 1
        if self._staging_uses % STAGING_USES == 0:
            connection.execute(self._sql.script(*(f"drop_staged_{name}" for name in names)))
        # Looked for each time, because a pooler may give another session; emptied first, because it may hold
        # what another client left there.
        connection.execute(
            self._sql.script(
                *(f"stage_{name}" for name in names), *(f"clear_staged_{name}" for name in names)
            )
        )
        for row_type, name in _STAGED.items():
            self._copy(connection, f"copy_staged_{name}", batch.lines.get(row_type, ()))

    def _merge(self, connection: Connection, batch: Batch) -> None:
        of_errors = list(batch.error_logs)
        connection.execute(self._sql.query("stage_stubs"), {"experiment_ids": of_errors})
        connection.execute(self._sql.query("merge_experiments"))  # takes the locks
        if batch.lines.get(JobRow):
            connection.execute(self._sql.query("merge_jobs"))
        if batch.lines.get(NodeRow):
            connection.execute(self._sql.query("merge_nodes"))
        if of_errors:
            counts = {"experiment_ids": of_errors, "errors": list(batch.error_logs.values())}
            connection.execute(self._sql.query("add_errors"), counts)

    def _copy(self, connection: Connection, query: str, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        with connection.cursor() as cursor, cursor.copy(self._sql.query(query)) as copy:
            copy.write(b"".join(lines))
