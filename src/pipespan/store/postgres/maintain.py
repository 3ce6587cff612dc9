"""Looks after a database: what it is called, what is set, what is pinned; larger tasks have modules of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg

from pipespan.errors import PipespanError
from pipespan.model.retention import Retention, retention_from_json, retention_to_json
from pipespan.store.maintenance import Inspection, PruneReport, PruneRules
from pipespan.store.postgres import migrate
from pipespan.store.postgres.connect import Connection, Scope, open_connection, translated
from pipespan.store.sqlfiles import SqlFiles, open_sql

RETENTION: Final = "retention"
"""Where in `pipespan_settings` the rules stand."""

ANYHOW: Final = Scope()
"""The server's own timeouts and search path."""


class Session:
    """A connection that runs the named queries of `sql/queries`, each in a transaction of its own."""

    def __init__(self, connection: Connection, sql: SqlFiles, scope: Scope = ANYHOW) -> None:
        self.connection = connection
        self.sql = sql
        self.scope = scope

    def rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a named query."""
        with self.scope.transaction(self.connection, self.sql):
            return self._execute(query, values).fetchall()

    def one(self, query: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the first row, None without a row."""
        with self.scope.transaction(self.connection, self.sql):
            row = self._execute(query, values).fetchone()
        return None if row is None else row[0]

    def run(self, query: str, values: Mapping[str, Any] | None = None) -> int:
        """Run a named query and return how many rows it touched."""
        with self.scope.transaction(self.connection, self.sql):
            return self._execute(query, values).rowcount

    def _execute(self, query: str, values: Mapping[str, Any] | None) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.connection.execute(self.sql.query(query), values)

    def setting(self, name: str) -> Any:
        """Return what is set for this database under a name, None for nothing."""
        return self.one("get_setting", {"name": name})


def rules_in_force(session: Session, default: Retention | None) -> Retention | None:
    """Return the rules that were set for a database, else `default`."""
    stored = session.setting(RETENTION)
    return default if stored is None else retention_from_json(_parsed(stored))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class PostgresMaintenance:
    """Implements `pipespan.store.maintenance.Maintenance`; connects at the first call.

    Args:
        dsn: where to connect to.
        schema: where the tables are; by default the first one of the search path.
        default_retention: the rules where none were set; None for a database that is somebody's own.
        sql: other files than the package's.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str | None = None,
        default_retention: Retention | None = None,
        sql: SqlFiles | None = None,
    ) -> None:
        self._dsn = dsn
        self._scope = Scope(schema=schema)
        self._default = default_retention
        self._sql = sql or open_sql()
        self._session: Session | None = None

    def database_name(self) -> str:
        """See `Maintenance.database_name`."""
        with translated():
            return str(self._any_schema().one("maintenance_identity"))

    def prune(
        self, rules: PruneRules, *, is_dry_run: bool = False, may_go_on: Callable[[], bool] = lambda: True
    ) -> PruneReport:
        """See `Maintenance.prune`."""
        from pipespan.store.postgres import maintain_foresee, maintain_prune  # noqa: PLC0415 - as they are needed

        session = self._ready()
        with translated():
            if is_dry_run:
                return maintain_foresee.foresee(session, rules)
            return maintain_prune.prune(session, rules, may_go_on=may_go_on)

    def retention(self) -> Retention | None:
        """See `Maintenance.retention`."""
        session = self._ready()
        with translated():
            return rules_in_force(session, self._default)

    def set_retention(self, rules: Retention | None) -> None:
        """See `Maintenance.set_retention`."""
        session = self._ready()
        value = json.dumps(retention_to_json(rules))
        with translated():
            session.run("set_setting", {"name": RETENTION, "value": value})

    def pin(self, experiment_id: str, *, is_pinned: bool) -> bool:
        """See `Maintenance.pin`."""
        session = self._ready()
        with translated():
            return bool(
                session.one("pin_experiment", {"experiment_id": experiment_id, "is_pinned": is_pinned})
            )

    def inspect(self) -> Inspection:
        """See `Maintenance.inspect`."""
        from pipespan.store.postgres import maintain_inspect  # noqa: PLC0415 - as it is needed

        session = self._any_schema()
        with translated():
            return maintain_inspect.inspect(session, self._default)

    def recreate(self) -> Sequence[str]:
        """See `Maintenance.recreate`."""
        from pipespan.store.postgres import maintain_recreate  # noqa: PLC0415 - as it is needed

        session = self._any_schema()
        with translated():
            maintain_recreate.drop_all(session)
        return migrate.migrate(self._dsn, self._sql, schema=self._scope.schema)

    def close(self) -> None:
        """See `Maintenance.close`."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(psycopg.Error):
                session.connection.close()

    def _any_schema(self) -> Session:
        if self._session is None or self._session.connection.closed:
            self._session = Session(open_connection(self._dsn), self._sql, self._scope)
        return self._session

    def _ready(self) -> Session:
        session = self._any_schema()
        try:
            migrate.require(session.connection, self._sql, self._scope.schema)
        except PipespanError:
            self.close()
            raise
        return session
