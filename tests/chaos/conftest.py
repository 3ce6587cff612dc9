from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.patients import Ward


@pytest.fixture
def ward(tmp_path: Path, dsn: str) -> Iterator[Ward]:
    """Run programs that ship to a fresh database and are looked after by a watcher."""
    made = Ward(tmp_path, dsn)
    yield made
    made.end()
