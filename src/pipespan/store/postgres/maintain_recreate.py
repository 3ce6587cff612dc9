"""Drops everything that the migrations made, and nothing else."""

from __future__ import annotations

import re
from typing import Final

from pipespan.store.postgres.maintain import Session
from pipespan.store.sqlfiles import SqlFiles

_CREATED: Final = re.compile(
    rb"^create (?:or replace )?(?:function|procedure|(?:materialized )?view|table)(?: if not exists)? (\w+)",
    re.MULTILINE | re.IGNORECASE,
)
_MIGRATIONS_TABLE: Final = "pipespan_migrations"


def created_names(sql: SqlFiles) -> list[str]:
    """Return the names of tables, views and functions that the migrations create."""
    found = {name.decode() for file in sql.migrations() for name in _CREATED.findall(file.content)}
    return sorted({*found, _MIGRATIONS_TABLE})


def drop_all(session: Session) -> None:
    """Drop what is pipespan's, all or nothing; tables that were there before it keep their rows."""
    with session.scope.transaction(session.connection, session.sql):
        session.run("migrations_lock")
        adopted = [row[0] for row in session.rows("adopted_tables")]
        values = {"names": created_names(session.sql), "adopted": adopted}
        for kind, name in session.rows("objects_of_ours", values):
            # names as the database itself quotes them
            statement = (
                f"alter table {name}" if kind == "constraint" else f"drop {kind} if exists {name} cascade"
            )
            session.connection.execute(statement.encode())
