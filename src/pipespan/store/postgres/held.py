"""A connection that is made when it is needed, and made again when it has broken or belongs to another process."""

from __future__ import annotations

import os
from contextlib import suppress

import psycopg

from pipespan.errors import PipespanError
from pipespan.store.postgres import migrate
from pipespan.store.postgres.connect import Connection, open_connection
from pipespan.store.sqlfiles import SqlFiles


class HeldConnection:
    """Holds one connection to a database that has our tables.

    Args:
        dsn: which database.
        sql: what the tables have to be like.
        schema: where they are; None looks where the role looks.
    """

    def __init__(self, dsn: str, sql: SqlFiles, schema: str | None = None) -> None:
        self._dsn = dsn
        self._sql = sql
        self._schema = schema
        self._connection: Connection | None = None
        self._owner_pid = 0

    @property
    def is_usable(self) -> bool:
        """Whether there is a connection, as far as can be told without asking the server."""
        # After a fork it is the parent's: psycopg leaves it open there.
        found = self._connection
        return found is not None and not found.closed and self._owner_pid == os.getpid()

    def get(self) -> Connection:
        """Return the connection, in autocommit mode.

        Raises:
            StoreUnavailableError: there is no server to be reached.
            SchemaError: its tables are not ours, or older than this program.
        """
        found = self._connection
        if found is not None and self.is_usable:
            return found
        connection = open_connection(self._dsn)
        try:
            migrate.require(connection, self._sql, self._schema)
        except PipespanError:
            connection.close()
            raise
        self._connection, self._owner_pid = connection, os.getpid()
        return connection

    def close_if_broken(self) -> None:
        """Close the connection if it can be used no more."""
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            self.close()

    def close(self) -> None:
        """Close the connection, which `get` makes anew; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None and self._owner_pid == os.getpid():
            with suppress(psycopg.Error):
                connection.close()
