from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.database import Database, open_database
from tests.cli.runner import Cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a caller of the command line, whose output is 80 columns wide and no terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Cli(capsys)


@pytest.fixture
def db(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Database:
    """Return a caller of the command line on a fresh, migrated database."""
    return open_database(dsn, tmp_path, capsys, monkeypatch)


@pytest.fixture
def bare_db(
    empty_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Database:
    """Return the same on a database without a schema."""
    return open_database(empty_dsn, tmp_path, capsys, monkeypatch)
