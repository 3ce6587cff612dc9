"""Which migrations a database still needs, and whether tables that it has can be ours: pure comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipespan.errors import SchemaError
from pipespan.store.sqlfiles import MigrationFile

MIGRATE_COMMAND = "pipespan db migrate"


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A row of `pipespan_migrations`."""

    version: int
    name: str
    checksum: str


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """A column of a table that was there before us.

    Attributes:
        is_needed: it takes no null and has no default.
        is_unique: it alone is the key of an index.
    """

    table_name: str
    column_name: str
    type_name: str
    is_needed: bool
    is_unique: bool


_TEXT: Final = ("text", "character varying", "character", "bpchar", "citext")
_BIGINT: Final = ("bigint", "numeric")
_INTEGER: Final = ("integer", *_BIGINT)
_TIME: Final = ("timestamp with time zone",)
_JSON: Final = ("jsonb",)
_TEXTS: Final = ("text[]", "character varying[]")
_UUID: Final = ("uuid",)


def _columns(types: Sequence[str], names: str) -> dict[str, Sequence[str]]:
    return dict.fromkeys(names.split(), types)


# What each of our columns may be in a table that is taken over; the names are those of the first migration.
_ADOPTED: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "experiments": {
        **_columns(_UUID, "id"),
        **_columns(_TEXT, "name status command host user_name git_commit trace_id"),
        **_columns(_JSON, "params"),
        **_columns(_TEXTS, "tags"),
        **_columns(_TIME, "started_at ended_at created_at"),
        **_columns(_INTEGER, "attempt"),
        **_columns(_BIGINT, "version error_count"),
    },
    "processing_jobs": {
        **_columns(_UUID, "id experiment_id parent_job_id"),
        **_columns(_TEXT, "host boot_id status cause command"),
        **_columns(_JSON, "evidence"),
        **_columns(_TEXTS, "log_messages"),
        **_columns(_TIME, "process_started_at started_at heartbeat_at progress_at ended_at"),
        **_columns(_INTEGER, "attempt exit_signal"),
        **_columns(_BIGINT, "pid exit_code version"),
    },
}


def adoption_conflicts(columns: Sequence[ExistingColumn]) -> list[str]:
    """Return why tables that exist already cannot be ours too, one phrase each; none when they can."""
    found: list[str] = []
    for table in dict.fromkeys(column.table_name for column in columns):
        known = {column.column_name: column for column in columns if column.table_name == table}
        allowed = _ADOPTED[table]
        if "id" not in known:
            found.append(f"{table} has no column id of type uuid")
        elif known["id"].type_name == "uuid" and not known["id"].is_unique:
            found.append(f"{table}.id is neither primary key nor unique")
        for name, column in known.items():
            if name in allowed and column.type_name not in allowed[name]:
                found.append(f"{table}.{name} is of type {column.type_name}, not {allowed[name][0]}")
            elif name not in allowed and column.is_needed:
                found.append(f"{table}.{name} takes no null and has no default")
    return found


def pending(files: Sequence[MigrationFile], applied: Sequence[AppliedMigration]) -> list[MigrationFile]:
    """Return the migrations to apply, in order.

    Raises:
        SchemaError: the database is newer than the files, or was made by other ones.
    """
    by_version = {file.version: file for file in files}
    newest = max(by_version, default=0)
    for record in applied:
        file = by_version.get(record.version)
        if record.version > newest:
            message = (
                f"the database has schema version {record.version}, this pipespan knows {newest}; "
                "upgrade pipespan"
            )
            raise SchemaError(message)
        if file is None or record.checksum not in file.checksums:
            message = (
                f"migration {record.name!r} was applied with another content than this pipespan has; "
                "install the version that made the database, or use a fresh database"
            )
            raise SchemaError(message)
    done = {record.version for record in applied}
    waiting = sorted((file for file in files if file.version not in done), key=lambda file: file.version)
    if waiting and done and waiting[0].version < max(done):
        message = (
            f"migration {waiting[0].name!r} was left out while later ones were applied; "
            "install the version that made the database, or use a fresh database"
        )
        raise SchemaError(message)
    return waiting


def require(files: Sequence[MigrationFile], applied: Sequence[AppliedMigration]) -> None:
    """Check that a database has all that this program needs; a newer schema still serves it.

    Raises:
        SchemaError: migrations are missing; names the command.
    """
    done = {record.version for record in applied}
    missing = [file.name for file in files if file.version not in done]
    if not missing:
        return
    have = f"is at schema version {max(done)}" if done else "has no pipespan schema"
    message = f"the database {have}, {len(missing)} migration(s) are missing; run `{MIGRATE_COMMAND}`"
    raise SchemaError(message)
