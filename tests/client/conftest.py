from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipespan import Client
from tests.client.recorded import RUNS, record
from tests.fixtures.postgres import fresh_database


@pytest.fixture(scope="session")
def recorded_dsn(
    pg_admin_dsn: str, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the DSN of a database with runs of a real pipeline; tests only read it."""
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        for number in range(1, RUNS + 1):
            record(dsn, tmp_path_factory.mktemp("recorded"), number)
        yield dsn


@pytest.fixture
def client(recorded_dsn: str) -> Iterator[Client]:
    """Return a client of the database with the recorded runs."""
    with Client(recorded_dsn) as made:
        yield made


@pytest.fixture
def elsewhere(dsn: str) -> Iterator[Client]:
    """Return a client of another database, an empty one."""
    with Client(dsn) as made:
        yield made
