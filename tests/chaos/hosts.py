"""Hosts on one machine: network namespaces on a bridge, with a Postgres that listens on nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

import pipespan
from pipespan.store.postgres.migrate import migrate
from tests.fixtures.postgres import START_TIMEOUT_S, _programs, server_account

NETWORK = "10.199.77"
PRELUDE = "import os, sys, time, logging, pathlib\nimport pipespan\n"
PRELUDE += "logging.getLogger().addHandler(logging.NullHandler())\n"


def why_not() -> str | None:
    """Return why hosts cannot be made here, None when they can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "network namespaces are made by root alone, on Linux"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "ip or unshare is not installed; Debian's packages iproute2 and util-linux have them"
    name = f"pspan-{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"network namespaces cannot be made: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Hosts:
    """Hosts 1 to n, each with its own address, name and state folder."""

    folder: Path
    prefix: str
    count: int
    dsn: str
    reader: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def namespace(self, host: int) -> str:
        return f"{self.prefix}-{host}"

    def start(self, host: int, source: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        """Start a program on a host."""
        script = self.folder / f"program{len(self.started)}.py"
        script.write_text(PRELUDE + textwrap.dedent(source))
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))
        }
        # Python is told by its own path, and named only once the host has its name.
        shell = f'hostname host-{host} && exec "$0" "$@"'
        command = [
            *("ip", "netns", "exec", self.namespace(host), "unshare", "--uts", "sh", "-c", shell),
            *(sys.executable, str(script), *map(str, arguments)),
        ]
        child = subprocess.Popen(
            command,
            env={
                **kept, "PYTHONPATH": str(Path(pipespan.__file__).parents[1]), "PIPESPAN_WATCHER": "0",
                "PIPESPAN_STATE_DIR": str(self.folder / f"host-{host}"), "PIPESPAN_DSN": self.dsn,
                "PIPESPAN_FLUSH_INTERVAL_S": "0.1", **environ,
            },
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(child)
        return child

    def cut(self, host: int) -> None:
        """Pull the plug of a host's network."""
        ip("-n", self.namespace(host), "link", "set", "eth0", "down")

    def mend(self, host: int) -> None:
        """Put it back."""
        ip("-n", self.namespace(host), "link", "set", "eth0", "up")

    def end(self) -> None:
        for child in self.started:
            child.kill()
            child.communicate()


@contextmanager
def made_hosts(folder: Path, count: int) -> Iterator[Hosts]:
    """Make hosts and a migrated database on a bridge between them; nothing reaches any other network."""
    prefix = f"pspan-{os.getpid()}"
    names = [f"{prefix}-hub", *(f"{prefix}-{host}" for host in range(1, count + 1))]
    try:
        _wire(names, count)
        with _server(names[0]) as (dsn, reader):
            hosts = Hosts(folder, prefix, count, dsn, reader)
            try:
                yield hosts
            finally:
                hosts.end()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _wire(names: list[str], count: int) -> None:
    hub, *hosts = names
    for name in names:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    ip("-n", hub, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    ip("-n", hub, "addr", "add", f"{NETWORK}.254/24", "dev", "br0")
    ip("-n", hub, "link", "set", "br0", "up")
    for number, name in enumerate(hosts, start=1):
        ip("-n", hub, "link", "add", f"h{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", hub, "link", "set", f"h{number}", "master", "br0", "up")
        ip("-n", name, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")


@contextmanager
def _server(hub: str) -> Iterator[tuple[str, str]]:
    """Run a Postgres on the bridge; give its address there, and that of its socket for whoever reads from here."""
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
    try:
        os.chown(folder, account.uid or 0, account.gid or 0)
        programs, data = _programs(account, folder), folder / "data"
        options = "-U tests -A trust -E UTF8 --locale=C -N".split()
        subprocess.run(
            [programs / "initdb", "-D", data, *options],
            cwd="/",
            check=True,
            capture_output=True,
            **account.options(),
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all tests {NETWORK}.0/24 trust\n")
        settings = ("fsync=off", "jit=off", f"listen_addresses={NETWORK}.254", "max_connections=60")
        words = [word for setting in settings for word in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            command = [
                "ip",
                "netns",
                "exec",
                hub,
                "setpriv",
                f"--reuid={account.uid}",
                f"--regid={account.gid}",
            ]
            command += ["--clear-groups", "--pdeathsig", "keep", str(programs / "postgres"), "-D", str(data)]
            server = subprocess.Popen(
                [*command, "-k", str(folder), *words],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            reader = conninfo.make_conninfo("", host=str(folder), user="tests", dbname="postgres")
            _wait(reader, server, folder / "log")
            migrate(reader)
            yield conninfo.make_conninfo("", host=f"{NETWORK}.254", user="tests", dbname="postgres"), reader
        finally:
            server.terminate() if server.poll() is not None else server.send_signal(3)
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(dsn: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Postgres did not start: {log.read_text(errors='replace')}")
            time.sleep(0.05)
        else:
            return
