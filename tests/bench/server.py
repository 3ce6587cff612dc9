"""A Postgres of the benchmark's own: the embedded one with the schema, gone at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipespan.config import load_settings
from pipespan.store.postgres.embedded import server_status, stop_server
from pipespan.wiring.stores import dsn_of, migrate


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        state_dir: its state folder; processes that are given it use the server.
        dsn: where to connect to.
    """

    state_dir: Path
    dsn: str


@contextmanager
def running_server() -> Generator[Server, None, None]:
    """Give a fresh server that runs meanwhile."""
    state_dir = Path(tempfile.mkdtemp(prefix="pipespan-bench-"))
    folders = [state_dir]
    try:
        settings = load_settings({}, state_dir, state_dir=state_dir)
        dsn = dsn_of(settings)
        status = server_status(state_dir)
        if status is not None:
            # Root's server has its folders elsewhere.
            folders += [status.data_dir.parent, status.socket_dir]
        migrate(settings)
        yield Server(state_dir, dsn)
    finally:
        stop_server(state_dir)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
