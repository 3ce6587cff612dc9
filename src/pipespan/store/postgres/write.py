"""The writing side: a batch of COPY lines becomes rows, exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

from pipespan.errors import PipespanError
from pipespan.store.base import Batch, RequestRow, StreamKey
from pipespan.store.postgres import requests
from pipespan.store.postgres.brief import OneMessage, brief_transaction
from pipespan.store.postgres.connect import Connection, Scope, Timeouts, raise_translated
from pipespan.store.postgres.filling import (
    are_small,
    is_fault_of_rows,
    raise_if_elsewhere,
    write_batches,
    write_requests,
)
from pipespan.store.postgres.held import HeldConnection
from pipespan.store.postgres.rehearsal import rehearse
from pipespan.store.sqlfiles import SqlFiles, open_sql

DEFAULT_TIMEOUTS: Final = Timeouts(statement_s=60, lock_s=30, silence_s=10)
PARTITIONS_INTERVAL_S: Final = 3600.0
PARTITIONS_DAYS_AHEAD: Final = 7
PRUNE_ROWS: Final = 10_000
PRUNE_ROUNDS: Final = 1_000

STRAYS_INTERVAL_S: Final = 600.0
"""How often it is looked whether rows have gone into a default partition."""

MAX_STRAYS: Final = 1000
"""No more of them are counted."""


class PostgresSink:
    """Implements `pipespan.store.base.Sink`; connects at the first call and again after a failure.

    Args:
        dsn: where to connect to.
        timeouts: bounds of each transaction.
        schema: where the tables are; None looks where the role looks.
        sql: the queries; by default those of this program.
        is_looked_after: somebody else has made partitions for the next days; this sink does so after an hour.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        dsn: str,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        schema: str | None = None,
        sql: SqlFiles | None = None,
        is_looked_after: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scope = Scope(timeouts, schema)
        self._sql = sql or open_sql()
        self._held = HeldConnection(dsn, self._sql, schema)
        self._clock_s = clock_s
        self._is_looked_after = is_looked_after
        self._partitions_at_s = clock_s()
        self._strays_at_s = clock_s() - (0 if is_looked_after else STRAYS_INTERVAL_S)
        self._strays_before: int | None = None
        # Rows that went into a default partition since this sink first looked.
        self.stray_rows = 0

    def ship(self, *batches: Batch) -> None:
        """See `Sink.ship`."""
        if not batches:
            return
        connection = self._ready()
        try:
            if not (are_small(batches) and self._sent_at_once(connection, batches)):
                with brief_transaction(connection, self._scope, self._sql) as transaction:
                    write_batches(transaction, batches)
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_if_elsewhere(error, batches)
            raise_translated(error)
        except BaseException:
            # Interrupted in the middle of a COPY: the session's state is unknown.
            self.close()
            raise

    def ship_requests(self, batches: Sequence[Batch]) -> Sequence[StreamKey]:
        """See `pipespan.store.base.RequestSink.ship_requests`."""
        connection = self._ready()
        try:
            with brief_transaction(connection, self._scope, self._sql) as transaction:
                return write_requests(transaction, batches)
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_translated(error)
        except BaseException:
            self.close()
            raise

    def prune_requests(self) -> None:
        """See `pipespan.store.base.RequestSink.prune_requests`."""
        connection = self._ready()
        try:
            for _ in range(PRUNE_ROUNDS):
                with self._scope.transaction(connection, self._sql):
                    row = connection.execute(
                        self._sql.query("prune_requests"), {"limit": PRUNE_ROWS}
                    ).fetchone()
                if row is None or not row[0]:
                    return
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_translated(error)

    def get_ready(self) -> None:
        """See `pipespan.store.base.CommonSink.get_ready`."""
        connection = self._ready()
        try:
            rehearse(connection, self._scope, self._sql)
        except psycopg.Error:  # what is wrong is told to who brings rows
            self._held.close_if_broken()

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        connection = self._ready()
        try:
            with self._scope.transaction(connection, self._sql):
                return self._stands_at(connection, key)
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_translated(error)

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `pipespan.store.base.Desk.open_requests`."""
        connection = self._ready()
        try:
            return requests.open_requests(connection, self._sql, job_ids)
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_translated(error)

    def is_retention_due(self, *, has_default: bool) -> bool:
        """Tell whether there are rules, and no writer has applied them for an hour or is about to; never raises.

        Args:
            has_default: there are rules where none were set.
        """
        with suppress(PipespanError, psycopg.Error):
            connection = self._ready()
            with self._scope.transaction(connection, self._sql):
                row = connection.execute(
                    self._sql.query("retention_due"), {"has_default": has_default}
                ).fetchone()
            return row is not None and bool(row[0])
        self._held.close_if_broken()
        return False

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `pipespan.store.base.Desk.answer_request`."""
        connection = self._ready()
        try:
            requests.answer_request(connection, self._sql, request_id, answer)
        except psycopg.Error as error:
            self._held.close_if_broken()
            raise_translated(error)

    def close(self) -> None:
        """See `Sink.close`."""
        self._held.close()

    def _sent_at_once(self, connection: Connection, batches: Sequence[Batch]) -> bool:
        """Write the batches with one message; False when a row is at fault, and nothing was written."""
        try:
            transaction = OneMessage(connection, self._scope, self._sql)
            write_batches(transaction, batches)
            transaction.send()
        except (psycopg.Error, ValueError) as error:
            if is_fault_of_rows(error):
                return False
            raise
        return True

    def _ready(self) -> Connection:
        if not self._held.is_usable and not self._is_looked_after:
            # Perhaps another database is behind the name by now.
            self._partitions_at_s = self._clock_s() - PARTITIONS_INTERVAL_S
        self._is_looked_after = False
        connection = self._held.get()
        if self._clock_s() - self._partitions_at_s >= PARTITIONS_INTERVAL_S:
            self._ensure_partitions(connection)
        if self._clock_s() - self._strays_at_s >= STRAYS_INTERVAL_S:
            self._look_for_strays(connection)
        return connection

    def _ensure_partitions(self, connection: Connection) -> None:
        self._partitions_at_s = self._clock_s()
        # Without them rows go to the default partition: worth an alarm of the doctor, not a lost batch.
        with suppress(psycopg.Error), self._scope.transaction(connection, self._sql):
            connection.execute(self._sql.query("ensure_partitions"), {"days_ahead": PARTITIONS_DAYS_AHEAD})
        self._held.close_if_broken()

    def _look_for_strays(self, connection: Connection) -> None:
        self._strays_at_s = self._clock_s()
        with suppress(psycopg.Error), self._scope.transaction(connection, self._sql):
            query = self._sql.query("maintenance_default_rows")
            counted = sum(row[1] for row in connection.execute(query, {"limit": MAX_STRAYS}).fetchall())
            if self._strays_before is None:
                self._strays_before = counted
            self.stray_rows = max(counted - self._strays_before, 0)
        self._held.close_if_broken()

    def _stands_at(self, connection: Connection, key: StreamKey) -> int:
        values = {"stream_id": key.stream_id, "lane": key.lane}
        row = connection.execute(self._sql.query("stream_offset"), values).fetchone()
        return 0 if row is None else int(row[0])
