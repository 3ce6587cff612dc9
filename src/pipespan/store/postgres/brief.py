"""A transaction in as few messages as there can be, which holds no lock while it waits for the network."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from pipespan.store.postgres.connect import Connection, Scope
from pipespan.store.sqlfiles import SqlFiles

_BEGIN: Final = "begin"
_COMMIT: Final = b"commit"


class BriefTransaction:
    """Begins along with its first statement and commits along with its last.

    The server carries out what one message brings without asking back. Locks that only the last statement takes are
    gone again before its answer leaves: whoever is stopped, or cut off from the network, at any moment of the
    transaction holds none of them.

    Args:
        connection: in autocommit mode.
        scope: what holds within the transaction.
        sql: the queries.
    """

    def __init__(self, connection: Connection, scope: Scope, sql: SqlFiles) -> None:
        self._connection = connection
        self._scope = scope
        self._sql = sql

    def first(self, query: str, *each: Mapping[str, Any]) -> list[Any]:
        """Begin, and return the one value that the named query gives for each of these parameters."""
        # Parameters are quoted here: the server takes several statements at once without any.
        cursor = psycopg.ClientCursor(self._connection)
        statements = [_BEGIN]
        if not self._scope.is_empty():
            statements.append(cursor.mogrify(self._sql.query("set_scope"), self._scope.values()))
        opening = len(statements)
        statements += [cursor.mogrify(self._sql.query(query), values) for values in each]
        cursor.execute(";\n".join(statements).encode(self._connection.info.encoding))
        found = []
        for number in range(len(statements)):
            if number >= opening:
                row = cursor.fetchone()
                found.append(None if row is None else row[0])
            cursor.nextset()
        return found

    def execute(self, query: str) -> None:
        """Carry out the named query, which has no parameters."""
        self._connection.execute(self._sql.query(query))

    def copy(self, query: str, lines: Sequence[bytes]) -> None:
        """Send lines to the table that the named COPY fills; without any nothing happens."""
        if not lines:
            return
        with self._connection.cursor() as cursor, cursor.copy(self._sql.query(query)) as copy:
            copy.write(b"".join(lines))

    def last(self, query: str, values: Mapping[str, Any]) -> None:
        """Carry out the named query, and commit."""
        psycopg.ClientCursor(self._connection).execute(b";\n".join([self._sql.query(query), _COMMIT]), values)


@contextmanager
def brief_transaction(
    connection: Connection, scope: Scope, sql: SqlFiles
) -> Generator[BriefTransaction, None, None]:
    """Give a transaction; one that `last` has not ended is committed, one that an error has left is rolled back."""
    try:
        yield BriefTransaction(connection, scope, sql)
        connection.commit()
    except BaseException:
        # Where it cannot be done the connection has broken, and the server does it itself.
        with suppress(psycopg.Error):
            connection.rollback()
        raise
