"""Which store the settings mean, and how it is opened."""

from __future__ import annotations

import getpass
import importlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings
from pipespan.model.retention import DEFAULT_RETENTION, Retention
from pipespan.store.nowhere import NowhereSink
from pipespan.store.sqlfiles import open_sql
from pipespan.wiring.target import digest

if TYPE_CHECKING:
    from pipespan.store.base import Asker, Sink, Source
    from pipespan.store.postgres.retaining import RetainingSink
    from pipespan.store.postgres.write import PostgresSink

_IMPORT_S: Final = 3600.0


def spool_dirs(settings: Settings) -> tuple[Path, ...]:
    """Return the folders for streams: the state folder's, and one to fall back on where that is read-only."""
    ours = Path(tempfile.gettempdir()) / f"pipespan-{_user()}"
    dirs = (settings.spool_dir(), ours / digest(str(settings.state_dir.absolute())))
    return dirs if _is_private(ours) else dirs[:1]


def known_spool_dirs(settings: Settings) -> tuple[Path, ...]:
    """Return all folders where streams of this user may be: also the spare ones of other state folders."""
    dirs = spool_dirs(settings)
    others = sorted(place for spare in dirs[1:] for place in _children(spare.parent) if place not in dirs)
    return (*dirs, *others)


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_private(folder: Path) -> bool:
    # Anybody may make a folder in the temporary one; what another user put there is not ours to deliver.
    try:
        status = folder.lstat()
    except OSError:
        return True
    is_mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISDIR(status.st_mode) and is_mine and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def dsn_of(settings: Settings) -> str:
    """Return where to connect to; starts the embedded server, and applies its migrations, when there is no DSN.

    Raises:
        StoreError: the embedded server cannot be had.
    """
    if settings.dsn is not None:
        return settings.dsn
    from pipespan.store.postgres.embedded import ensure_server  # noqa: PLC0415 - only where it is used

    return ensure_server(settings.state_dir)


def preload(settings: Settings, *, is_for_reading: bool = False, may_fork: bool = True) -> None:
    """Import all that `open_sink` or `open_source` will use, at a moment of the caller's choice.

    What applies retention is left for the moment when it is due where `may_fork` is false: no fork can meet an import
    that is under way then.
    """
    if settings.store == "otlp" and not is_for_reading:
        return
    names = ["migrate", "read" if is_for_reading else "write"]
    if settings.retain and not is_for_reading:
        names += ["retaining", *(["maintain_retain"] if may_fork else [])]
    if settings.dsn is None:
        names += ["embedded", "embedded_start"]
    for name in names:
        importlib.import_module(f"pipespan.store.postgres.{name}")
    open_sql()  # the machinery of resources imports its own parts late


def open_sink(settings: Settings) -> Sink:
    """Return the sink that the settings mean.

    Raises:
        StoreError: it cannot be had now.
    """
    if settings.store == "otlp":
        return NowhereSink()
    return open_request_sink(settings)


def open_request_sink(
    settings: Settings, dsn: str | None = None, *, is_looked_after: bool = False
) -> PostgresSink | RetainingSink:
    """Return the sink that the settings mean, as one that takes whole requests too, and serves many programs.

    Args:
        settings: say which.
        dsn: where the database is (`ready_dsn`), when that is known already.
        is_looked_after: another process makes partitions and applies retention; this one does after an hour.

    Raises:
        StoreError: it cannot be had now.
    """
    from pipespan.store.postgres.write import PostgresSink  # noqa: PLC0415 - psycopg is slow to import

    dsn, default, schema = dsn or ready_dsn(settings), default_retention(settings), settings.schema
    sink = PostgresSink(dsn, schema=schema, is_looked_after=is_looked_after)
    if not settings.retain:
        return sink
    from pipespan.store.postgres import retaining  # noqa: PLC0415 - as above

    def retain(may_go_on: Callable[[], bool]) -> object:
        from pipespan.store.postgres import maintain_retain  # noqa: PLC0415 - when it is time, which is seldom

        return maintain_retain.retain(dsn, default, may_go_on, schema=schema)

    return retaining.RetainingSink(
        sink,
        retain,
        has_default=default is not None,
        first_look_s=retaining.LATE_LOOK_S if is_looked_after else retaining.FIRST_LOOK_S,
    )


def open_import_sink(settings: Settings) -> Sink:
    """Return a sink for batches of any size: one statement may take an hour.

    Raises:
        StoreError: it cannot be had now.
    """
    from pipespan.store.postgres.connect import Timeouts  # noqa: PLC0415 - psycopg is slow to import
    from pipespan.store.postgres.write import PostgresSink  # noqa: PLC0415 - as above

    timeouts = Timeouts(statement_s=_IMPORT_S, lock_s=30)
    return PostgresSink(ready_dsn(settings), timeouts=timeouts, schema=settings.schema)


def open_source(settings: Settings) -> Source:
    """Return the source that the settings mean.

    Raises:
        StoreError: it cannot be had now.
    """
    from pipespan.store.postgres.read import PostgresSource  # noqa: PLC0415 - psycopg is slow to import

    return PostgresSource(ready_dsn(settings), schema=settings.schema)


def default_retention(settings: Settings) -> Retention | None:
    """Return the rules where none were set: a database of somebody's own keeps everything."""
    return DEFAULT_RETENTION if settings.dsn is None else None


def open_asker(settings: Settings) -> Asker:
    """Return what asks live processes through the database that the settings mean.

    Raises:
        StoreError: it cannot be had now.
    """
    from pipespan.store.postgres.requests import PostgresAsker  # noqa: PLC0415 - psycopg is slow to import

    return PostgresAsker(ready_dsn(settings))


def ready_dsn(settings: Settings) -> str:
    """Return where to connect to; an embedded server runs then, and has its tables.

    Raises:
        StoreError: the embedded server cannot be had.
    """
    dsn = dsn_of(settings)
    if settings.dsn is None:
        migrate(settings)
    return dsn


def migrate(settings: Settings) -> tuple[str, ...]:
    """Bring the schema up to date; return the names of the migrations that were applied.

    Raises:
        StoreError: the database cannot be reached, or is newer than this program.
    """
    from pipespan.store.postgres.migrate import migrate as apply  # noqa: PLC0415 - psycopg is slow to import

    return tuple(apply(dsn_of(settings), schema=settings.schema))


def waiting_migrations(settings: Settings) -> tuple[str, ...]:
    """Return the names of the migrations that `migrate` would apply; changes nothing and raises as it does."""
    from pipespan.store.postgres.migrate import waiting  # noqa: PLC0415 - psycopg is slow to import

    return tuple(waiting(dsn_of(settings), schema=settings.schema))


def make_roles(settings: Settings) -> None:
    """Make or renew the database's roles for writers and readers; raises as `migrate` does."""
    from pipespan.store.postgres.migrate import make_roles as make  # noqa: PLC0415 - psycopg is slow to import

    make(dsn_of(settings), schema=settings.schema)


def database_url(settings: Settings) -> str:
    """Return where the database is, without a password."""
    from pipespan.store.postgres.connect import redact_dsn  # noqa: PLC0415 - psycopg is slow to import

    return redact_dsn(dsn_of(settings))


def stop_database(settings: Settings) -> bool:
    """Stop the embedded server; return whether one ran."""
    from pipespan.store.postgres.embedded import stop_server  # noqa: PLC0415 - only where it is used

    return stop_server(settings.state_dir)
