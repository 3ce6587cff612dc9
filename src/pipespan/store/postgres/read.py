"""The reading side: named queries in, records out.

The queries give their columns in the order of the fields of the records.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import args_row

from pipespan.model.attributes import plain_text
from pipespan.model.records import ExperimentRecord, JobRecord, LogRecord, NodeRecord
from pipespan.store.base import ErrorGroup, LogFilter
from pipespan.store.chronicle import Snapshot
from pipespan.store.postgres.chronicle import ChronicleReaders
from pipespan.store.postgres.chronicle import bounded as _bounded
from pipespan.store.postgres.connect import Scope, Timeouts, raise_translated
from pipespan.store.postgres.held import HeldConnection
from pipespan.store.postgres.snapshot import open_snapshot
from pipespan.store.sqlfiles import SqlFiles, open_sql

ResultT = TypeVar("ResultT")


class PostgresSource(ChronicleReaders):
    """Implements `pipespan.store.base.Source`; connects at the first call and again after a failure.

    May be used by several threads; they take turns.
    """

    def __init__(
        self,
        dsn: str,
        *,
        timeouts: Timeouts | None = None,
        schema: str | None = None,
        sql: SqlFiles | None = None,
    ) -> None:
        self._dsn = dsn
        self._scope = Scope(timeouts or Timeouts(), schema)
        self._sql = sql or open_sql()
        self._turn = threading.Lock()
        self._held = HeldConnection(dsn, self._sql, schema)

    def experiments(self, *, limit: int) -> list[ExperimentRecord]:
        """See `Source.experiments`."""
        return self._all("experiments", ExperimentRecord, {"limit": _bounded(limit)})

    def find_experiments(self, reference: str, *, limit: int) -> list[ExperimentRecord]:
        """See `Source.find_experiments`."""
        values = {"reference": plain_text(reference), "limit": _bounded(limit)}
        return self._all("find_experiments", ExperimentRecord, values)

    def jobs(self, experiment_id: str) -> list[JobRecord]:
        """See `Source.jobs`."""
        return self._of_experiment("jobs", JobRecord, experiment_id)

    def nodes(self, experiment_id: str) -> list[NodeRecord]:
        """See `Source.nodes`."""
        return self._of_experiment("nodes", _node_record, experiment_id)

    def open_nodes(self, experiment_id: str, job_id: str) -> list[NodeRecord]:
        """See `Source.open_nodes`."""
        return self._of_experiment("open_nodes", _node_record, experiment_id, {"job_id": job_id})

    def error_counts(self, experiment_id: str) -> Mapping[str | None, int]:
        """See `Source.error_counts`."""
        pairs = self._of_experiment("error_counts", _error_count, experiment_id)
        return dict(pairs)

    def logs(self, experiment_id: str, wanted: LogFilter) -> list[LogRecord]:
        """See `Source.logs`."""
        values = {
            "level": wanted.level,
            "search": None if wanted.contains is None else plain_text(wanted.contains),
            "node_id": None if wanted.node_id is None else plain_text(wanted.node_id),
            "since": wanted.since,
            "until": wanted.until,
            "limit": _bounded(wanted.limit),
            "after_id": None if wanted.after_id is None else _bounded(wanted.after_id),
        }
        return self._of_experiment("logs", LogRecord, experiment_id, values)

    def error_groups(self, experiment_id: str, *, limit: int) -> list[ErrorGroup]:
        """See `Source.error_groups`."""
        edges = self._of_experiment("error_groups", _group_edge, experiment_id, {"limit": _bounded(limit)})
        return [
            ErrorGroup.of(first.fingerprint or "", errors, first, last)
            for (errors, first), (_, last) in zip(edges[::2], edges[1::2], strict=True)
        ]

    def close(self) -> None:
        """See `Source.close`; whoever is being answered is answered first."""
        with self._turn:  # libpq would free the connection under the thread that is using it
            self._held.close()

    def _open_snapshot(self, experiment_id: uuid.UUID) -> AbstractContextManager[Snapshot]:
        return open_snapshot(self._dsn, self._scope, self._sql, experiment_id)

    def _of_experiment(
        self,
        query: str,
        build: Callable[..., ResultT],
        experiment_id: str,
        values: Mapping[str, Any] | None = None,
    ) -> list[ResultT]:
        try:
            known = uuid.UUID(experiment_id)
        except ValueError:
            return []  # what is no UUID names no experiment
        return self._all(query, build, {"experiment_id": known, **(values or {})})

    def _all(self, query: str, build: Callable[..., ResultT], values: Mapping[str, Any]) -> list[ResultT]:
        with self._turn:
            is_fresh = not self._held.is_usable
            try:
                return self._ask(query, build, values)
            except psycopg.OperationalError as error:
                # A connection that was left idle may have died since: reading again does no harm.
                if is_fresh or self._held.is_usable:
                    raise_translated(error)
            except psycopg.Error as error:
                raise_translated(error)
            try:
                return self._ask(query, build, values)
            except psycopg.Error as error:
                raise_translated(error)

    def _ask(self, query: str, build: Callable[..., ResultT], values: Mapping[str, Any]) -> list[ResultT]:
        connection = self._held.get()
        try:
            with connection.cursor(row_factory=args_row(build)) as cursor:
                if self._scope.is_empty():
                    return cursor.execute(self._sql.query(query), values).fetchall()
                with self._scope.transaction(connection, self._sql):
                    return cursor.execute(self._sql.query(query), values).fetchall()
        finally:
            self._held.close_if_broken()


_NODE_FIELDS: Final = tuple(field.name for field in fields(NodeRecord))
_SUMS: Final = tuple(_NODE_FIELDS.index(name) for name in ("child_weight", "child_sum", "child_reached"))


def _node_record(*values: Any) -> NodeRecord:
    # The sums may be larger than any integer type of Postgres, so they come as text.
    found = list(values)
    for place in _SUMS:
        found[place] = int(found[place])
    return NodeRecord(*found)


def _error_count(node_id: str | None, errors: int) -> tuple[str | None, int]:
    return node_id, errors


def _group_edge(errors: int, *values: Any) -> tuple[int, LogRecord]:
    return errors, LogRecord(*values)
