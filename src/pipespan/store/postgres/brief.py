"""A transaction in as few messages as there can be, which holds no lock while it waits for the network."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

import psycopg
from psycopg import pq

from pipespan.store.insertion import insertion
from pipespan.store.postgres.connect import Connection, Scope
from pipespan.store.sqlfiles import SqlFiles

_BEGIN: Final = b"begin"
COMMIT: Final = b"commit"
ROLLBACK: Final = b"rollback"
_NEXT: Final = b";\n"

COPY_BYTES: Final = 256 << 10
"""So much is handed to libpq at once: it keeps memory for the most that it was ever given, and moves the rest of that
each time the server has taken some."""


class Transaction(Protocol):
    """What a batch is written with; queries are named as the files of `sql/queries`."""

    def open(self, query: str, values: Mapping[str, Any]) -> None:
        """Begin, and carry out the named query."""

    def execute(self, query: str) -> None:
        """Carry out the named query, which has no parameters."""

    def copy(self, query: str, lines: Sequence[bytes]) -> None:
        """Send lines to the table that the named COPY fills; without any nothing happens."""

    def last(self, query: str, values: Mapping[str, Any]) -> None:
        """Carry out the named query, and commit."""


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

    def open(self, query: str, values: Mapping[str, Any]) -> None:
        """See `Transaction.open`."""
        self.first(query, values)

    def first(self, query: str, values: Mapping[str, Any]) -> Any:
        """Begin, and return the one value that the named query gives."""
        statements = _opening(self._connection, self._scope, self._sql)
        statements.append(_filled(self._connection, self._sql.query(query), values))
        cursor = self._connection.execute(_NEXT.join(statements))
        for _ in statements[1:]:
            cursor.nextset()
        row = cursor.fetchone()
        return None if row is None else row[0]

    def execute(self, query: str) -> None:
        """See `Transaction.execute`."""
        self._connection.execute(self._sql.query(query))

    def copy(self, query: str, lines: Sequence[bytes]) -> None:
        """See `Transaction.copy`."""
        if not lines:
            return
        with self._connection.cursor() as cursor, cursor.copy(self._sql.query(query)) as copy:
            data = memoryview(b"".join(lines))
            for start in range(0, len(data), COPY_BYTES):
                copy.write(data[start : start + COPY_BYTES])

    def last(self, query: str, values: Mapping[str, Any]) -> None:
        """See `Transaction.last`."""
        statement = _filled(self._connection, self._sql.query(query), values)
        self._connection.execute(_NEXT.join([statement, COMMIT]))


class OneMessage:
    """Gathers what a transaction consists of, and sends it all at once: neither side waits for the other in between.

    COPY asks back, so rows go as INSERT; `pipespan.store.postgres.filling` tells for how many that is worth it.

    Args:
        connection: in autocommit mode.
        scope: what holds within the transaction.
        sql: the queries.
    """

    def __init__(self, connection: Connection, scope: Scope, sql: SqlFiles) -> None:
        self._connection = connection
        self._sql = sql
        self._statements = _opening(connection, scope, sql)

    def open(self, query: str, values: Mapping[str, Any]) -> None:
        """See `Transaction.open`."""
        self.last(query, values)

    def execute(self, query: str) -> None:
        """See `Transaction.execute`."""
        self._statements.append(self._sql.query(query))

    def copy(self, query: str, lines: Sequence[bytes]) -> None:
        """See `Transaction.copy`; raises ValueError for a line that only COPY can tell the fault of."""
        if lines:
            self._statements.append(insertion(self._sql.query(query), lines, self._quoted))

    def last(self, query: str, values: Mapping[str, Any]) -> None:
        """See `Transaction.last`; the commit comes with `send`."""
        self._statements.append(_filled(self._connection, self._sql.query(query), values))

    def send(self, end: bytes = COMMIT) -> None:
        """Have it all carried out, and commit; where something fails, or `end` is a rollback, nothing was done."""
        try:
            self._connection.execute(_NEXT.join([*self._statements, end]))
        except BaseException:
            _roll_back(self._connection)
            raise

    def _quoted(self, text: bytes) -> bytes:
        try:
            return bytes(pq.Escaping(self._connection.pgconn).escape_literal(text))
        except psycopg.Error as error:
            raise ValueError("a text cannot be quoted") from error


@contextmanager
def brief_transaction(
    connection: Connection, scope: Scope, sql: SqlFiles
) -> Generator[BriefTransaction, None, None]:
    """Give a transaction; one that `last` has not ended is committed, one that an error has left is rolled back."""
    try:
        yield BriefTransaction(connection, scope, sql)
        connection.commit()
    except BaseException:
        _roll_back(connection)
        raise


def _opening(connection: Connection, scope: Scope, sql: SqlFiles) -> list[bytes]:
    if scope.is_empty():
        return [_BEGIN]
    return [_BEGIN, _filled(connection, sql.query("set_scope"), scope.values())]


def _filled(connection: Connection, query: bytes, values: Mapping[str, Any]) -> bytes:
    # Parameters are quoted here: the server takes several statements at once without any.
    return psycopg.ClientCursor(connection).mogrify(query, values).encode(connection.info.encoding)


def _roll_back(connection: Connection) -> None:
    # Where it cannot be done the connection has broken, and the server does it itself.
    with suppress(psycopg.Error):
        connection.rollback()
