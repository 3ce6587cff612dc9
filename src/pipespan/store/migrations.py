"""Which migrations a database still needs: a pure comparison of files and records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pipespan.errors import SchemaError
from pipespan.store.sqlfiles import MigrationFile

MIGRATE_COMMAND = "pipespan db migrate"


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A row of `pipespan_migrations`."""

    version: int
    name: str
    checksum: str


def checksum(content: bytes) -> str:
    """Return what is recorded of a migration's content."""
    return hashlib.sha256(content).hexdigest()


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
        if file is None or checksum(file.content) != record.checksum:
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
