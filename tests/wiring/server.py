"""A Postgres server of one test's own, which the test stops, kills and starts again."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import conninfo

from pipespan.store.postgres.migrate import migrate
from tests.fixtures import postgres

# What is committed must survive the kill of the server, so commits wait; the disk itself is not at stake.
SETTINGS = (
    "fsync=off",
    "autovacuum=off",
    "jit=off",
    "listen_addresses=",
    "max_connections=20",
    "shared_buffers=32MB",
)


class Server:
    """Made by `initdb` in a folder that is short enough for a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_account = postgres.server_account()
        if self.server_account.uid is not None and self.server_account.gid is not None:
            os.chown(folder, self.server_account.uid, self.server_account.gid)
        self._programs = postgres._programs(self.server_account, folder)
        self._process: subprocess.Popen[Any] | None = None
        subprocess.run(
            [self._programs / "initdb", "-D", folder / "data", *"-U tests -A trust -E UTF8 --locale=C -N".split()],
            cwd="/", capture_output=True, check=True, **self.server_account.options(),
        )  # fmt: skip

    def dsn(self, **changes: str) -> str:
        return conninfo.make_conninfo(
            "", **{"host": str(self.folder), "user": "tests", "dbname": "postgres", **changes}
        )

    def start(self) -> None:
        options = [word for setting in SETTINGS for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *options],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.server_account.options(),
            )  # fmt: skip
        postgres._wait_until_ready(self.dsn(), self._process, self.folder / "log")

    def migrate(self, **changes: str) -> None:
        migrate(self.dsn(**changes))

    def kill(self) -> None:
        """End the server at once: connections break in the middle of whatever they do."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=10)
            self._process = None

    def freeze(self) -> None:
        """Stop all of its processes where they are; it takes connections still, and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        found = psutil.Process(self._process.pid)
        for one in (found, *found.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def rules(self, *lines: str) -> None:
        """Let people in by these lines of `pg_hba.conf`, from now on."""
        (self.folder / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")

    def cut(self, user: str) -> None:
        """Break all connections of a user."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", (user,)
            )

    def ask_for_passwords(self) -> None:
        """Let everybody but `tests` in by password only."""
        lines = "local all tests trust\nlocal all all scram-sha-256\n"
        (self.folder / "data" / "pg_hba.conf").write_text(lines)
