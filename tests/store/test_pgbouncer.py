"""Everything works behind PgBouncer in transaction mode, where each transaction may meet another session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from pipespan.model.tree import rollup
from pipespan.store.base import LogFilter
from pipespan.store.postgres.migrate import migrate, waiting
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import server_account
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, node

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no pgbouncer on the path; install Debian's package pgbouncer to run these"
)

CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_round_robin = 1
max_client_conn = 50
logfile = {folder}/log
"""


@dataclass(frozen=True)
class Bouncer:
    direct: str
    folder: Path

    @property
    def dsn(self) -> str:
        name = conninfo.conninfo_to_dict(self.direct)["dbname"]
        return conninfo.make_conninfo("", host=str(self.folder), port=6432, user="tests", dbname=name)


@pytest.fixture
def bouncer(empty_dsn: str) -> Iterator[Bouncer]:
    server = conninfo.conninfo_to_dict(empty_dsn)
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
    config = folder / "config.ini"
    text = CONFIG.format(
        host=server["host"], port=server.get("port", 5432), user=server.get("user", "tests"), folder=folder
    )
    config.write_text(text)
    if account.uid is not None and account.gid is not None:
        os.chown(folder, account.uid, account.gid)
        os.chown(config, account.uid, account.gid)
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, "-q", config], cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True, **account.options(),
    )  # fmt: skip
    found = Bouncer(empty_dsn, folder)
    try:
        _wait_until_ready(found, process)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(bouncer: Bouncer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(bouncer.dsn, connect_timeout=2, prepare_threshold=None).close()
        except psycopg.OperationalError:
            log_file = bouncer.folder / "log"
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(
                    f"pgbouncer did not start: {log_file.read_text() if log_file.exists() else 'no log'}"
                )
            time.sleep(0.02)
        else:
            return


@pytest.mark.parametrize("schema", [None, "monitoring"])
def test_many_writers_share_few_sessions(bouncer: Bouncer, schema: str | None) -> None:
    """Six writers rehearse, share two sessions, change kinds of rows all the time, and every sum is exact."""
    assert migrate(bouncer.dsn, schema=schema)
    assert migrate(bouncer.dsn, schema=schema) == waiting(bouncer.dsn, schema=schema) == []

    def write(writer: int) -> None:
        sink = PostgresSink(bouncer.dsn, schema=schema)
        sink.get_ready()
        shipper = Shipper(sink)
        own = f"p/{writer}"
        shipper.ship(
            experiment(), job(f"8888888{writer}-0000-4000-8000-000000000000"), node("p"), node(own, "p")
        )
        shipper.ship(*(node(f"{own}/{leaf}", own, total_units=9) for leaf in range(5)))
        for version in range(2, 12):
            rows = [
                node(f"{own}/{leaf}", own, total_units=9, completed_units=version % 9, version=version)
                for leaf in range(5)
            ]
            shipper.ship(*rows)
            shipper.ship(log(f"{writer} {version}", level="ERROR"))
            shipper.ship(job(f"8888888{writer}-0000-4000-8000-000000000000", version=version))
        sink.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    source = PostgresSource(bouncer.dsn, schema=schema)
    nodes = source.nodes(EXPERIMENT_ID)
    sums = rollup(nodes)
    assert len(nodes) == 37
    for found in nodes:
        expected = sums[found.node_id]
        assert (found.child_weight, found.child_sum, found.child_reached) == (
            expected.child_weight, expected.child_sum, expected.child_reached,
        )  # fmt: skip
    assert source.experiments(limit=1)[0].error_count == 60
    assert len(source.logs(EXPERIMENT_ID, LogFilter(limit=100))) == 60
    assert [found.version for found in source.jobs(EXPERIMENT_ID)] == [11] * 6
    source.close()


def test_commands_work(bouncer: Bouncer, tmp_path: Path) -> None:
    """`db migrate` and `status`, as processes, with a schema of their own, find their tables behind the pooler."""
    environ = {
        **os.environ, "PIPESPAN_DSN": bouncer.dsn, "PIPESPAN_SCHEMA": "monitoring", "PIPESPAN_STATE_DIR": str(tmp_path),
    }  # fmt: skip

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "pipespan", *arguments]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "applied" in run("db", "migrate")
    sink = PostgresSink(bouncer.dsn, schema="monitoring")
    Shipper(sink).ship(experiment(), node("p", completed_units=1, total_units=4))
    sink.close()
    (found,) = json.loads(run("status", "--json"))["nodes"]
    assert found["progress_percent"] == 25.0
    assert run("db", "migrate", "--check") == "the schema is up to date\n"


def test_the_session_keeps_nothing_of_ours(bouncer: Bouncer) -> None:
    """Search path and bounds of time end with the transaction: others who share the session never see them."""
    migrate(bouncer.dsn, schema="monitoring")
    sink = PostgresSink(bouncer.dsn, schema="monitoring")
    Shipper(sink).ship(node("p"))
    sink.close()
    for _ in range(4):
        with closing(psycopg.connect(bouncer.dsn, autocommit=True, prepare_threshold=None)) as other:
            row = other.execute(
                "select current_setting('search_path'), current_setting('statement_timeout'),"
                " current_setting('lock_timeout')"
            ).fetchone()
        assert row == ('"$user", public', "0", "0")
