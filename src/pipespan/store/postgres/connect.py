"""Connections to Postgres, and its errors in our words: one line, a remedy, never a password."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import psycopg
from psycopg import conninfo

from pipespan.errors import PipespanError, RefusedError, SchemaError, StoreUnavailableError
from pipespan.store.migrations import MIGRATE_COMMAND
from pipespan.store.sqlfiles import SqlFiles

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_S: Final = 10
_DSN_DEFAULTS: Final[dict[str, str]] = {
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "application_name": "pipespan",
    # A peer that vanished without a word is noticed within about half a minute.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # ms
}

_PASSWORD_PARAMETER: Final = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
_PASSWORD_WORD: Final = re.compile(
    r"\b((?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|(?:\\.|[^\s\\])+)", re.IGNORECASE | re.DOTALL
)
_MASK: Final = "***"

_REFUSED_CLASSES: Final = ("22", "23", "54")
_CHECK_DSN: Final = "check PIPESPAN_DSN and that the server runs"
_REMEDIES: Final[tuple[tuple[str, str], ...]] = (
    (
        "42501",
        "grant PIPESPAN_DSN's role the rights on pipespan's tables, and to migrate CREATE on the schema",
    ),
    ("25006", "point PIPESPAN_DSN at a server that accepts writes, not a standby or a read-only role"),
    ("3D000", "create the database, or correct its name in PIPESPAN_DSN"),
    ("28", "correct user and password in PIPESPAN_DSN"),
    ("53100", "make room on the database's disk"),
    ("53300", "raise max_connections, or connect through a pooler"),
)
_PHRASES: Final[tuple[tuple[str, str], ...]] = (
    ("password authentication failed", "correct user and password in PIPESPAN_DSN"),
    ("no password supplied", "add the password to PIPESPAN_DSN, or to the pgpass file"),
    ("no pg_hba.conf entry", "allow this host in the server's pg_hba.conf"),
    ("does not exist", "create it, or correct PIPESPAN_DSN"),
    ("too many clients", "raise max_connections, or connect through a pooler"),
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds that the server keeps for each transaction; None leaves the server's own.

    Attributes:
        statement_s: for a statement.
        lock_s: for waiting for a lock.
        silence_s: for a client that says nothing more in the middle of a transaction, or is not there any more: the
            transaction is rolled back, and nobody waits for its locks.
    """

    statement_s: float | None = None
    lock_s: float | None = None
    silence_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds within each transaction: bounds of time, and the schema whose tables are meant.

    Set for each transaction and never for the session: a pooler in transaction mode gives the next one another
    session, and drops or refuses what `options` of the connection string say.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    schema: str | None = None

    @contextmanager
    def transaction(self, connection: Connection, sql: SqlFiles) -> Generator[None, None, None]:
        """Give a transaction in which the scope holds."""
        with connection.transaction():
            if not self.is_empty():
                connection.execute(sql.query("set_scope"), self.values())
            yield

    def values(self) -> dict[str, str | None]:
        """Return the parameters of the query `set_scope`."""
        return {
            "statement": _milliseconds(self.timeouts.statement_s),
            "lock": _milliseconds(self.timeouts.lock_s),
            "silence": _milliseconds(self.timeouts.silence_s),
            "keepalive": _keepalive(self.timeouts.silence_s),
            "schema": self.schema,
        }

    def is_empty(self) -> bool:
        """Tell whether there is nothing to set, so that a single statement needs no transaction."""
        return self == Scope()


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else str(max(1, int(seconds * 1000)))


def _keepalive(silence_s: float | None) -> str | None:
    """Return after how many seconds of silence a peer is asked, and how often: gone after four times as long."""
    return None if silence_s is None else str(max(1, round(silence_s / 4)))


def redact_dsn(dsn: str) -> str:
    """Return `dsn` without its password, for messages; whatever may be one is hidden."""
    scheme, separator, rest = dsn.partition("://")
    if not separator:
        return _PASSWORD_WORD.sub(rf"\g<1>{_MASK}", dsn)
    rest = _PASSWORD_PARAMETER.sub(rf"\g<1>{_MASK}", rest)
    # The last @ and not the first: a password with an unescaped @ in it must not show.
    userinfo, at, place = rest.rpartition("@")
    user, colon, _password = userinfo.partition(":")
    return f"{scheme}://{user}{':' + _MASK if colon else ''}{at}{place}"


def _has_odd_password(dsn: str) -> bool:
    """Tell whether libpq would split the DSN inside of its password, and then show a part of it."""
    _scheme, separator, rest = dsn.partition("://")
    userinfo, _at, _place = rest.rpartition("@")
    _user, _colon, password = userinfo.partition(":")
    return bool(separator) and re.search(r"[@/?#:\s]|%(?![0-9A-Fa-f]{2})", password) is not None


def open_connection(dsn: str) -> Connection:
    """Connect, in autocommit mode and in UTC.

    Nothing is prepared on the server, so a pooler may give each transaction another session.

    Raises:
        StoreUnavailableError: with one line that names the remedy.
    """
    if _has_odd_password(dsn):
        message = (
            f"the dsn {redact_dsn(dsn)!r} has a password with special characters; "
            "percent-encode them, or use the form 'host=... password=...'"
        )
        raise StoreUnavailableError(message)
    try:
        options = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # libpq quotes the piece that it could not read, which may be the password.
        message = f"the dsn {redact_dsn(dsn)!r} cannot be read; use postgresql://user:password@host:port/name"
        raise StoreUnavailableError(message) from None
    try:
        connection: Connection = psycopg.connect(
            conninfo.make_conninfo("", **{**_DSN_DEFAULTS, **options, "client_encoding": "utf8"}),
            autocommit=True,
            prepare_threshold=None,
        )
        try:
            # Times are read in UTC: in another zone the years 1 and 9999 leave Python's range.
            connection.execute(b"set timezone to 'UTC'")
        except BaseException:
            connection.close()
            raise
    except psycopg.Error as error:
        reason = _one_line(error)
        remedy = next((remedy for phrase, remedy in _PHRASES if phrase in reason), _CHECK_DSN)
        message = f"cannot connect to {redact_dsn(dsn)!r}: {reason}; {remedy}"
        raise StoreUnavailableError(message) from error
    return connection


@contextmanager
def translated() -> Generator[None, None, None]:
    """Turn psycopg's errors into those of `pipespan.errors`."""
    try:
        yield
    except psycopg.Error as error:
        raise_translated(error)


def raise_translated(error: psycopg.Error) -> NoReturn:
    """Raise the error of `pipespan.errors` that `error` amounts to."""
    raise _translate(error) from error


def _translate(error: psycopg.Error) -> PipespanError:
    state = error.sqlstate
    reason = _one_line(error)
    if state is None:
        if isinstance(error, psycopg.DataError):
            return RefusedError(f"the data cannot be sent to the database: {reason}; correct the value")
        return StoreUnavailableError(f"the connection to the database was lost: {reason}; {_CHECK_DSN}")
    for prefix, remedy in _REMEDIES:
        if state.startswith(prefix):
            return StoreUnavailableError(f"the database does not let us: {reason}; {remedy}")
    if state.startswith(_REFUSED_CLASSES):
        return RefusedError(f"the database refuses the data: {reason}; correct the row and write it again")
    if state.startswith(("42", "3F")):
        return SchemaError(f"the schema does not fit: {reason}; run `{MIGRATE_COMMAND}`")
    return StoreUnavailableError(f"the database failed ({state}): {reason}; trying again may help")


def _one_line(error: psycopg.Error) -> str:
    primary = error.diag.message_primary
    if primary is None:
        lines = [line.strip(" -\t") for line in str(error).splitlines() if line.strip()]
        # With several addresses psycopg lists each failure below a heading; hints of libpq come last.
        telling = [line for line in lines if "failed:" in line] or lines or [type(error).__name__]
        primary = telling[0]
    where = error.diag.context
    if where is not None and where.startswith("COPY"):
        primary = f"{primary} ({where.splitlines()[0]})"
    return primary
