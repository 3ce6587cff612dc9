"""Applies the schema: one transaction for each file with its record, one migrator at a time."""

from __future__ import annotations

from psycopg import sql as compose

from pipespan.errors import SchemaError
from pipespan.store import migrations
from pipespan.store.migrations import AppliedMigration, ExistingColumn
from pipespan.store.postgres.connect import Connection, Scope, open_connection, translated
from pipespan.store.sqlfiles import MigrationFile, SqlFiles, open_sql


def migrate(dsn: str, sql: SqlFiles | None = None, *, schema: str | None = None) -> list[str]:
    """Bring the schema to the newest version; return the names of the files applied.

    Several processes may do so at once.

    Args:
        dsn: where to connect to.
        sql: the files; by default those of this program.
        schema: where the tables are, made when missing; by default the first one of the search path.

    Raises:
        SchemaError: the database is newer, was made by other files, or has tables that cannot be taken over.
        StoreUnavailableError: the database cannot be reached, or rights are missing.
    """
    sql = sql or open_sql()
    files = sql.migrations()
    done: list[str] = []
    with open_connection(dsn) as connection, translated():
        while (applied := _apply_next(connection, sql, files, schema)) is not None:
            done.append(applied)
    return done


def waiting(dsn: str, sql: SqlFiles | None = None, *, schema: str | None = None) -> list[str]:
    """Return the names of the files that `migrate` would apply; changes nothing and raises as it does."""
    sql = sql or open_sql()
    with open_connection(dsn) as connection, translated():
        records = applied_migrations(connection, sql, schema)
        if not records:
            with Scope(schema=schema).transaction(connection, sql):
                _check_existing(connection, sql)
    return [file.name for file in migrations.pending(sql.migrations(), records)]


def make_roles(dsn: str, sql: SqlFiles | None = None, *, schema: str | None = None) -> None:
    """Make or renew the roles `pipespan_writer` and `pipespan_reader` and their rights.

    Raises:
        SchemaError: there is no schema yet.
        StoreUnavailableError: the database cannot be reached, or rights are missing.
    """
    sql = sql or open_sql()
    with open_connection(dsn) as connection, translated():
        require(connection, sql, schema)
        with Scope(schema=schema).transaction(connection, sql):
            connection.execute(sql.roles())


def check(connection: Connection, sql: SqlFiles | None = None, schema: str | None = None) -> None:
    """Check that the schema is exactly the one of this program.

    Raises:
        SchemaError: it is missing, too old, too new, or made by other files; names the remedy.
    """
    sql = sql or open_sql()
    files = sql.migrations()
    records = applied_migrations(connection, sql, schema)
    migrations.pending(files, records)
    migrations.require(files, records)


def require(connection: Connection, sql: SqlFiles, schema: str | None = None) -> None:
    """Check that the schema serves this program; it may be newer.

    Raises:
        SchemaError: it is missing or too old; names the command.
    """
    migrations.require(sql.migrations(), applied_migrations(connection, sql, schema))


def applied_migrations(
    connection: Connection, sql: SqlFiles, schema: str | None = None
) -> list[AppliedMigration]:
    """Return the records of the migrations applied, none without a schema."""
    with translated(), Scope(schema=schema).transaction(connection, sql):
        row = connection.execute(sql.query("migrations_exist")).fetchone()
        if row is None or not row[0]:
            return []
        return [AppliedMigration(*record) for record in connection.execute(sql.query("migrations_applied"))]


def _apply_next(
    connection: Connection, sql: SqlFiles, files: list[MigrationFile], schema: str | None
) -> str | None:
    with Scope(schema=schema).transaction(connection, sql):
        connection.execute(sql.query("migrations_lock"))
        # Read anew for each file and under the lock: another process may have been faster.
        applied = applied_migrations(connection, sql, schema)
        todo = migrations.pending(files, applied)
        if not todo:
            return None
        if not applied:
            _make_schema(connection, sql, schema)
            _check_existing(connection, sql)
        file = todo[0]
        connection.execute(sql.query("migrations_create"))
        connection.execute(file.content)
        record = {"version": file.version, "name": file.name, "checksum": file.checksums[0]}
        connection.execute(sql.query("migrations_record"), record)
        return file.name


def _make_schema(connection: Connection, sql: SqlFiles, schema: str | None) -> None:
    if schema is None:
        return
    # Looked for first: who may use it need not have the right to make one.
    known = connection.execute(sql.query("schema_exists"), {"schema": schema}).fetchone()
    if known is None or not known[0]:
        connection.execute(compose.SQL("create schema {}").format(compose.Identifier(schema)))


def _check_existing(connection: Connection, sql: SqlFiles) -> None:
    rows = connection.execute(sql.query("existing_columns")).fetchall()
    conflicts = migrations.adoption_conflicts([ExistingColumn(*row) for row in rows])
    if conflicts:
        message = (
            f"existing tables cannot be taken over: {'; '.join(conflicts)}; set PIPESPAN_SCHEMA to a schema of "
            "pipespan's own, such as pipespan, and migrate again"
        )
        raise SchemaError(message)
