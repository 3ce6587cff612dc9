"""The embedded Postgres server: one for each state folder, started on demand, shared by a user's processes.

Contracts:

- No mode and no owner of a folder changes that we did not make; sockets live in a folder of mode 0700, there
  is no TCP, and only the server's own OS user and root are let in (`peer`).
- An ordinary user's server runs as that user in `<state>/postgres`. Root's runs as the system user
  `pipespan`, there if the state folder is root's and that user can reach it, else in
  `/var/lib/pipespan/<digest of the state folder>`. Root uses and stops an ordinary user's server, and never
  starts one.
- Who lives is told by a file lock (`alive`) that all processes of the server inherit, never by a pid alone:
  pids are reused, stay as zombies, and mean nothing in another container.
- Lock order: `/var/lib/pipespan/lock` (given back before the next), `<base>/lock`, `<base>/alive`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pipespan.errors import StoreUnavailableError
from pipespan.store.postgres.embedded_status import ServerStatus, existing_base, server_status

__all__ = ["ServerStatus", "ensure_server", "server_status", "stop_server"]

DEFAULT_TIMEOUT_S = 30.0
DEFAULT_IDLE_STOP_S = 12 * 3600.0


def ensure_server(
    state_dir: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S, idle_stop_s: float | None = DEFAULT_IDLE_STOP_S
) -> str:
    """Return the DSN of the state folder's server, which is made and started if it does not run.

    Args:
        state_dir: the state folder; it is made if missing.
        timeout_s: how long making, starting and waiting for others may take in all.
        idle_stop_s: a server started by this call stops after so long without clients; None means never.

    Raises:
        StoreUnavailableError: there can be no server here, or not now; the message names the remedy.
    """
    status = server_status(state_dir)
    if status is not None:
        return status.dsn
    if os.name == "nt":
        raise StoreUnavailableError(
            "the embedded database does not run on Windows; set PIPESPAN_DSN to a Postgres server"
        )
    # heavy, not for Windows, and only needed when nothing runs yet
    from pipespan.store.postgres import embedded_start  # noqa: PLC0415

    deadline = time.monotonic() + timeout_s
    try:
        embedded_start.start(state_dir.resolve(), deadline=deadline, idle_stop_s=idle_stop_s)
        status = server_status(state_dir)
    except OSError as error:
        raise StoreUnavailableError(
            f"cannot start the embedded database in {str(state_dir)!r}: {error.strerror or error};"
            " name another folder by PIPESPAN_STATE_DIR or a server by PIPESPAN_DSN"
        ) from error
    if status is None:
        raise StoreUnavailableError(
            f"the embedded database of {str(state_dir)!r} was stopped while it started; try again"
        )
    return status.dsn


def stop_server(state_dir: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> bool:
    """Stop the state folder's server and wait until it is gone; False if none ran.

    Clients are cut off; what they committed is safe.

    Raises:
        StoreUnavailableError: it is another user's, or does not end in time.
    """
    if os.name == "nt":
        return False
    from pipespan.store.postgres import embedded_start  # noqa: PLC0415 - as above

    base = existing_base(state_dir.resolve())
    if base is None:
        return False
    try:
        return embedded_start.stop(base, deadline=time.monotonic() + timeout_s)
    except OSError as error:
        raise StoreUnavailableError(
            f"cannot stop the embedded database of {str(state_dir)!r}: {error.strerror or error};"
            " run the command as the user who started it"
        ) from error
