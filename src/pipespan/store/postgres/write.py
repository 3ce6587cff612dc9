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
from pipespan.store.postgres.connect import Connection, Scope, Timeouts, open_connection, raise_translated
from pipespan.store.sqlfiles import SqlFiles, open_sql

DEFAULT_TIMEOUTS: Final = Timeouts(statement_s=60, lock_s=30, silence_s=10)
PARTITIONS_INTERVAL_S: Final = 3600.0
PARTITIONS_DAYS_AHEAD: Final = 7

_STAGED: Final[Mapping[RowType, str]] = {ExperimentRow: "experiments", JobRow: "jobs", NodeRow: "nodes"}
_DIRECT: Final[Mapping[RowType, str]] = {LogRow: "logs", EventRow: "events", MetricRow: "metrics"}


class PostgresSink:
    """Implements `pipespan.store.base.Sink`; connects at the first call and again after a failure."""

    def __init__(
        self,
        dsn: str,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        schema: str | None = None,
        sql: SqlFiles | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._scope = Scope(timeouts, schema)
        self._sql = sql or open_sql()
        self._clock_s = clock_s
        self._connection: Connection | None = None
        self._owner_pid = 0
        self._partitions_at_s = 0.0

    def ship(self, batch: Batch) -> None:
        """See `Sink.ship`."""
        connection = self._ready()
        try:
            with self._scope.transaction(connection, self._sql):
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
            with self._scope.transaction(connection, self._sql):
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
            migrate.require(connection, self._sql, self._scope.schema)
        except PipespanError:
            connection.close()
            raise
        self._connection = connection
        self._owner_pid = os.getpid()
        self._partitions_at_s = self._clock_s() - PARTITIONS_INTERVAL_S
        return connection

    def _ensure_partitions(self, connection: Connection) -> None:
        self._partitions_at_s = self._clock_s()
        # Without them rows go to the default partition: worth an alarm of the doctor, not a lost batch.
        with suppress(psycopg.Error), self._scope.transaction(connection, self._sql):
            connection.execute(self._sql.query("ensure_partitions"), {"days_ahead": PARTITIONS_DAYS_AHEAD})
        self._drop_if_broken()

    def _drop_if_broken(self) -> None:
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self.close()

    def _open(self, connection: Connection, batch: Batch, content: Mapping[str, Any]) -> None:
        """Move the ledger, and make the tables ready for rows that are merged; one round trip."""
        values = {
            "stream_id": batch.key.stream_id,
            "lane": batch.key.lane,
            "start_bytes": batch.start_bytes,
            "end_bytes": batch.end_bytes,
            **content,
        }
        row = connection.execute(self._sql.query("open_batch"), values).fetchone()
        stands = None if row is None else row[0]
        if stands is not None:
            raise offset_error(batch, int(stands))

    def _stands_at(self, connection: Connection, key: StreamKey) -> int:
        values = {"stream_id": key.stream_id, "lane": key.lane}
        row = connection.execute(self._sql.query("stream_offset"), values).fetchone()
        return 0 if row is None else int(row[0])

    def _write(self, connection: Connection, batch: Batch) -> None:
        content = {
            "has_owners": bool(batch.lines.get(ExperimentRow) or batch.lines.get(JobRow)),
            "has_nodes": bool(batch.lines.get(NodeRow)),
        }
        self._open(connection, batch, content)
        # All that comes over the network comes first: afterwards locks are held, which others wait for.
        for row_type, name in _STAGED.items():
            self._copy(connection, f"copy_staged_{name}", batch.lines.get(row_type, ()))
        for row_type, name in _DIRECT.items():
            self._copy(connection, f"copy_{name}", batch.lines.get(row_type, ()))
        if batch.error_logs or any(content.values()):
            errors = {"error_ids": list(batch.error_logs), "errors": list(batch.error_logs.values())}
            connection.execute(self._sql.query("merge_batch"), content | errors)

    def _copy(self, connection: Connection, query: str, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        with connection.cursor() as cursor, cursor.copy(self._sql.query(query)) as copy:
            copy.write(b"".join(lines))
