"""Calls the command line in this process on a real database, 80 columns wide and over a pipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pipespan.cli.app import main

MAX_COLUMNS = 80


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Database:
    dsn: str
    state_dir: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *args: str, typed: str = "", dsn: str | None = None) -> Said:
        self.monkeypatch.setattr("sys.stdin", StringIO(typed))
        code = main([*args, "--dsn", dsn or self.dsn, "--state-dir", str(self.state_dir)])
        captured = self.capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err
        return Said(code, captured.out, captured.err)


def open_database(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Database:
    monkeypatch.setenv("COLUMNS", str(MAX_COLUMNS))
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "PIPESPAN_DSN"):
        monkeypatch.delenv(name, raising=False)
    return Database(dsn, tmp_path, capsys, monkeypatch)
