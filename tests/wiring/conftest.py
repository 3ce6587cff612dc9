from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wiring.programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Run programs whose rows stay in the spool of a folder of the test's own."""
    made = Programs(tmp_path)
    yield made
    made.end()


@pytest.fixture
def connected(tmp_path: Path, dsn: str) -> Iterator[Programs]:
    """Run programs that ship to a fresh database."""
    made = Programs(tmp_path, {"PIPESPAN_DSN": dsn})
    yield made
    made.end()
