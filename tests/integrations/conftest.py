"""Engines that are started for a test: a Redis of its own, and programs that ship to a fresh database."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wiring.programs import Programs

START_S = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder that need an engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name != "test_futures.py":
            item.add_marker(pytest.mark.integrations)


@pytest.fixture
def connected(tmp_path: Path, dsn: str) -> Iterator[Programs]:
    """Run programs that ship to a fresh database."""
    made = Programs(tmp_path, {"PIPESPAN_DSN": dsn, "PIPESPAN_FLUSH_INTERVAL_S": "0.05"})
    yield made
    made.end()


def need(package: str) -> None:
    """Skip the test when a package is missing."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Start a Redis that listens on a socket of its own, and return where."""
    need("redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed; Debian's package of that name has it")
    with tempfile.TemporaryDirectory(prefix="pspan-redis-") as folder:
        socket = Path(folder) / "socket"
        command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_S
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("redis-server did not start")
                time.sleep(0.02)
            yield f"redis+socket://{socket}"
        finally:
            server.terminate()
            server.wait(10)


def deliver(programs: Programs) -> None:
    """Have the rest delivered of processes that were ended without a word, as the watcher of a user does."""
    programs.run(
        "import runpy; sys.argv = ['pipespan', 'ship']; runpy.run_module('pipespan', run_name='__main__')"
    )
