from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.chaos.patients import Ward
from tests.wiring.programs import Programs
from tests.wiring.server import Server


@pytest.fixture
def ward(tmp_path: Path, dsn: str) -> Iterator[Ward]:
    """Run programs that ship to a fresh database and are looked after by a watcher."""
    made = Ward(tmp_path, dsn)
    yield made
    made.end()


@pytest.fixture
def harmed(tmp_path: Path, dsn: str) -> Iterator[Programs]:
    """Run programs that ship to a fresh database, and have time for it at their end on a busy machine too."""
    made = Programs(tmp_path, {"PIPESPAN_DSN": dsn, "PIPESPAN_EXIT_TIMEOUT_S": "20"})
    yield made
    made.end()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """Make a server that tests may freeze, kill, fill and reconfigure; `guarded` is no superuser."""
    folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
    made = Server(folder)
    made.start()
    with closing(psycopg.connect(made.dsn(), autocommit=True)) as connection:
        connection.execute("create role guarded login password 'right'")
        if (
            connection.info.server_version >= 150000
        ):  # where functions that set a parameter take a right to define
            connection.execute('grant set on parameter "pipespan.rolling_up" to guarded')
    made.kill()
    yield made
    made.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(own_server: Server) -> Iterator[Server]:
    """Give the server with a fresh database, which `guarded` owns, and everybody let in."""
    own_server.start()
    own_server.rules("local all all trust")
    with closing(psycopg.connect(own_server.dsn(), autocommit=True)) as connection:
        connection.execute("alter role guarded password 'right'")
        connection.execute("drop database if exists work with (force)")
        connection.execute("create database work owner guarded")
    own_server.migrate(dbname="work", user="guarded")
    yield own_server
    own_server.thaw()
    own_server.kill()
