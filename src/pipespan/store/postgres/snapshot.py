"""All rows of an experiment as of one instant, streamed by cursors of the server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import psycopg
from psycopg.rows import args_row

from pipespan.model.rows import (
    EventRow,
    ExperimentRow,
    JobRow,
    LogRow,
    MetricRow,
    NodeRow,
    Row,
    RowType,
    time_columns,
)
from pipespan.store.chronicle import Snapshot
from pipespan.store.postgres import migrate
from pipespan.store.postgres.connect import Connection, Scope, open_connection, translated
from pipespan.store.sqlfiles import SqlFiles

PAGE_ROWS: Final = 2_000
"""Rows that are fetched at once."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TABLES: Final[Mapping[RowType, str]] = {
    JobRow: "snapshot_jobs",
    NodeRow: "snapshot_nodes",
    LogRow: "snapshot_logs",
    EventRow: "snapshot_events",
    MetricRow: "snapshot_metrics",
}


@contextmanager
def open_snapshot(
    dsn: str, scope: Scope, sql: SqlFiles, experiment_id: uuid.UUID
) -> Generator[Snapshot, None, None]:
    """Give the snapshot of an experiment, over a connection of its own.

    Raises:
        StoreUnavailableError: the database cannot be reached.
        SchemaError: the schema is missing or too old.
    """
    connection = open_connection(dsn)
    try:
        migrate.require(connection, sql, scope.schema)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with translated(), scope.transaction(connection, sql):
            values = {"experiment_id": experiment_id}
            found = connection.execute(sql.query("snapshot_experiments"), values).fetchone()
            if found is None:
                yield Snapshot(0, iter(()))
            else:
                *columns, error_count = found
                experiment = _builder(ExperimentRow)(*columns)
                yield Snapshot(error_count, _rows(connection, sql, values, experiment))
    finally:
        connection.close()


def _rows(connection: Connection, sql: SqlFiles, values: Mapping[str, Any], experiment: Row) -> Iterator[Row]:
    yield experiment
    for row_type, query in _TABLES.items():
        build = args_row(_builder(row_type))
        with connection.cursor(query, row_factory=build) as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(sql.query(query), values)
            yield from cursor


def _builder(row_type: RowType) -> Callable[..., Row]:
    """Return what makes a row of the values of a record, whose times are datetimes."""
    times = time_columns(row_type)

    def build(*values: Any) -> Row:
        found = list(values)
        for index in times:
            if found[index] is not None:
                found[index] = (found[index] - _EPOCH) // timedelta(microseconds=1) * 1000
        return row_type(*found)

    return build
