"""What tests of the Collector share: it is built once, and kept for the next time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.stack import COLLECTOR, Stack, running_stack
from tests.wiring.server import Server

BUILD_TIMEOUT_S = 900.0
"""Of a first build; where it was done before, nothing is to be waited for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and give them the time that a first build takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.collector)
            item.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_S + 60))


def build(*program: str) -> Path:
    """Return a program that `collector.py` has built; skip where that cannot be done."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go to build the Collector with")
    if not COLLECTOR.is_dir():
        pytest.skip("the folder `collector` is not beside the tests")
    done = subprocess.run(
        [sys.executable, str(COLLECTOR / "collector.py"), "build", *program], capture_output=True, text=True,
        timeout=BUILD_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def collector_program() -> Path:
    """Return the Collector."""
    return build()


@pytest.fixture(scope="session")
def telemetrygen() -> Path:
    """Return the load generator."""
    return build("telemetrygen")


@pytest.fixture(scope="session")
def gosender() -> Path:
    """Return the program that uses the SDK of Go."""
    return build("gosender")


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """Give a Postgres that the tests of one file start and kill; it does not run yet."""
    folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
    server = Server(folder)
    server.start()
    server.migrate()
    server.kill()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(
    collector_program: Path, own_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Run agent, gateway, two receivers and a database."""
    with running_stack(collector_program, own_server, tmp_path_factory.mktemp("stack")) as running:
        yield running
