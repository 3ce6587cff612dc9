"""Applies the schema: one transaction for each file with its record, one migrator at a time."""

from __future__ import annotations

from pipespan.store import migrations
from pipespan.store.migrations import AppliedMigration
from pipespan.store.postgres.connect import Connection, open_connection, translated
from pipespan.store.sqlfiles import MigrationFile, SqlFiles, open_sql


def migrate(dsn: str, sql: SqlFiles | None = None) -> list[str]:
    """Bring the schema to the newest version; return the names of the files applied.

    Several processes may do so at once.

    Raises:
        SchemaError: the database is newer, or was made by other files.
        StoreUnavailableError: the database cannot be reached, or rights are missing.
    """
    sql = sql or open_sql()
    files = sql.migrations()
    done: list[str] = []
    with open_connection(dsn) as connection, translated():
        while (applied := _apply_next(connection, sql, files)) is not None:
            done.append(applied)
    return done


def check(connection: Connection, sql: SqlFiles | None = None) -> None:
    """Check that the schema is exactly the one of this program.

    Raises:
        SchemaError: it is missing, too old, too new, or made by other files; names the remedy.
    """
    sql = sql or open_sql()
    files = sql.migrations()
    records = applied_migrations(connection, sql)
    migrations.pending(files, records)
    migrations.require(files, records)


def require(connection: Connection, sql: SqlFiles) -> None:
    """Check that the schema serves this program; it may be newer.

    Raises:
        SchemaError: it is missing or too old; names the command.
    """
    migrations.require(sql.migrations(), applied_migrations(connection, sql))


def applied_migrations(connection: Connection, sql: SqlFiles) -> list[AppliedMigration]:
    """Return the records of the migrations applied, none without a schema."""
    with translated():
        row = connection.execute(sql.query("migrations_exist")).fetchone()
        if row is None or not row[0]:
            return []
        return [AppliedMigration(*record) for record in connection.execute(sql.query("migrations_applied"))]


def _apply_next(connection: Connection, sql: SqlFiles, files: list[MigrationFile]) -> str | None:
    with connection.transaction():
        connection.execute(sql.query("migrations_lock"))
        # Read anew for each file and under the lock: another process may have been faster.
        waiting = migrations.pending(files, applied_migrations(connection, sql))
        if not waiting:
            return None
        file = waiting[0]
        connection.execute(sql.query("migrations_create"))
        connection.execute(file.content)
        record = {"version": file.version, "name": file.name, "checksum": migrations.checksum(file.content)}
        connection.execute(sql.query("migrations_record"), record)
        return file.name
