"""Make a data folder, write the server's configuration, launch it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded_binaries import Programs
from pipespan.store.postgres.embedded_place import Place, make_private_folder, refuse_full_disk
from pipespan.store.postgres.embedded_status import PORT
from pipespan.store.postgres.embedded_user import run_as

INIT_PREFIX = "init-"
UNFINISHED_S = 2.0
UNFINISHED_POLL_S = 0.02
LOG_BYTES = 1024 * 1024

# small and durable: one machine, some dozen clients, idle most of the time
SETTINGS: tuple[tuple[str, str], ...] = (
    ("listen_addresses", ""),
    ("port", str(PORT)),
    ("unix_socket_permissions", "0700"),
    ("max_connections", "100"),
    ("shared_buffers", "32MB"),
    ("maintenance_work_mem", "32MB"),
    ("effective_cache_size", "512MB"),
    ("huge_pages", "off"),
    ("jit", "off"),
    ("max_worker_processes", "4"),
    ("max_parallel_workers", "2"),
    ("max_parallel_workers_per_gather", "1"),
    ("max_logical_replication_workers", "0"),
    ("autovacuum", "on"),
    ("autovacuum_max_workers", "2"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("min_wal_size", "32MB"),
    ("max_wal_size", "256MB"),
    ("checkpoint_timeout", "10min"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_checkpoints", "off"),
    ("log_min_messages", "warning"),
    # statements carry the users' data
    ("log_min_error_statement", "panic"),
    ("log_line_prefix", "%m [%p] "),
)
# the default would keep three processes for asynchronous reading
SETTINGS_SINCE_18: tuple[tuple[str, str], ...] = (("io_method", "sync"),)


def data_major(data_dir: Path) -> int | None:
    """Return the major version of a data folder, or None if there is none yet.

    Raises:
        StoreUnavailableError: the folder holds something else.
    """
    try:
        return int((data_dir / "PG_VERSION").read_text("utf-8").strip())
    except FileNotFoundError:
        if data_dir.exists() and any(data_dir.iterdir()):
            raise StoreUnavailableError(
                f"{str(data_dir)!r} is not a data folder of Postgres; move it away"
            ) from None
        return None
    except ValueError as error:
        raise StoreUnavailableError(
            f"{str(data_dir / 'PG_VERSION')!r} is damaged; restore the folder, or move it away"
        ) from error


def initialise(place: Place, programs: Programs, deadline: float) -> None:
    """Make the data folder with database and role `pipespan`, elsewhere first: none is ever half-made."""
    remove_unfinished(place)
    refuse_full_disk(place.base)
    outer = Path(tempfile.mkdtemp(prefix=INIT_PREFIX, dir=place.base))
    try:
        if place.account.uid != os.geteuid():
            outer.chmod(0o711)  # the server's user must pass through
        fresh = outer / "data"
        make_private_folder(fresh, place.account)
        _run_initdb(place, programs, fresh, deadline)
        _create_database(place, programs, fresh, deadline)
        fresh.rename(place.data_dir)
        _sync_folder(place.base)
    finally:
        remove_unfinished(place)


def remove_unfinished(place: Place) -> None:
    """Remove what killed starters left; their initdb may still run, and fails once its files are gone."""
    until = time.monotonic() + UNFINISHED_S
    while left := list(place.base.glob(f"{INIT_PREFIX}*")):
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return  # the next start tries again
        time.sleep(UNFINISHED_POLL_S)


def write_configuration(place: Place, programs: Programs) -> None:
    """Write the configuration, which is ours and beside the data; `alter system` still has the last word."""
    settings = [
        *SETTINGS,
        *(SETTINGS_SINCE_18 if programs.major >= 18 else ()),
        ("unix_socket_directories", _list_element(str(place.socket_dir))),
        ("hba_file", str(place.base / "pg_hba.conf")),
        ("ident_file", str(place.base / "pg_ident.conf")),
    ]
    lines = [f"{name} = {_literal(value)}" for name, value in settings]
    # what initdb found out about this machine, such as the kind of shared memory
    found = f"include_if_exists = {_literal(str(place.data_dir / 'postgresql.conf'))}"
    users = dict.fromkeys((place.account.name, "root"))
    _write(place, "postgresql.conf", "\n".join([found, *lines]))
    _write(place, "pg_hba.conf", "local all all peer map=pipespan")
    _write(place, "pg_ident.conf", "\n".join(f'pipespan "{name}" pipespan' for name in users))


def launch(place: Place, programs: Programs, kept: Sequence[int], deadline: float) -> int:
    """Launch the server, whose processes all keep these handles, in a session of its own; return its pid."""
    log = _open_log(place)
    try:
        done = run_as(
            place.account,
            [
                # the shell ends at once: the server is nobody's child and holds none of the caller's pipes
                *("/bin/sh", "-c", '"$@" </dev/null >&2 & echo $!', "sh"),
                *(programs.path("postgres"), "-D", place.data_dir),
                *("-c", f"config_file={place.base / 'postgresql.conf'}"),
            ],
            timeout_s=deadline - time.monotonic(),
            stderr=log,
            pass_fds=kept,
        )
    finally:
        os.close(log)
    return int(done.stdout)


def _run_initdb(place: Place, programs: Programs, fresh: Path, deadline: float) -> None:
    options = ["--username=pipespan", "--auth-local=peer", "--auth-host=reject", "--no-instructions"]
    options += ["--set", "huge_pages=off", "--encoding=UTF8", "--locale=C"]
    if programs.major >= 17:
        # upper and lower case of all letters, the same on every machine
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command: list[str | Path] = [programs.path("initdb"), "-D", fresh, *options]
    done = run_as(place.account, command, timeout_s=deadline - time.monotonic())
    _refuse_failure("initdb", done.returncode, done.stderr + done.stdout)


def _create_database(place: Place, programs: Programs, fresh: Path, deadline: float) -> None:
    done = run_as(
        place.account,
        [programs.path("postgres"), "--single", "-D", fresh, "-c", "log_checkpoints=off", "postgres"],
        timeout_s=deadline - time.monotonic(),
        text="create database pipespan\n",
    )
    is_failure = done.returncode != 0 or "ERROR" in done.stderr
    _refuse_failure("create database", int(is_failure), done.stderr)


def _refuse_failure(what: str, returncode: int, output: str) -> None:
    if returncode == 0:
        return
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it left no word"]
    telling = [line for line in lines if "error" in line.lower() or "FATAL" in line or "could not" in line]
    remedy = "set PIPESPAN_DSN to a Postgres server"
    if "No space left" in output:
        remedy = "free some disk space, or name another folder by PIPESPAN_STATE_DIR"
    raise StoreUnavailableError(
        f"the embedded database cannot be made, {what}: {(telling or lines)[0]}; {remedy}"
    )


def _open_log(place: Place) -> int:
    """Open the log for appending; a big one is put aside, over the one before."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    if place.log.exists() and place.log.stat().st_size > LOG_BYTES:
        place.log.replace(place.log.with_name(f"{place.log.name}.1"))
    handle = os.open(place.log, flags, 0o600)
    if os.geteuid() != place.account.uid:
        os.fchown(handle, place.account.uid, place.account.gid)
    return handle


def _write(place: Place, name: str, text: str) -> None:
    # the server's user reads it, and nothing in it is secret
    handle, part = tempfile.mkstemp(prefix=f".{name}-", dir=place.base)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text + "\n")
        os.fchmod(handle, 0o644)
    Path(part).replace(place.base / name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _list_element(value: str) -> str:
    escaped = value.replace('"', '""')
    return f'"{escaped}"'
