"""Runs a piece of code as a program of its own, away from databases and from whoever runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pipespan


def run_program(code: str, folder: Path, dsn: str | None = None) -> subprocess.CompletedProcess[str]:
    """Return how `code` ended, run in `folder` with warnings as errors; without `dsn` rows stay in files there."""
    script = folder / "program.py"
    script.write_text(code, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))}
    environment = {
        **kept,
        "PIPESPAN_WATCHER": "0",
        "PIPESPAN_EXIT_TIMEOUT_S": "20",
        "PYTHONPATH": str(Path(pipespan.__file__).resolve().parents[1]),
        "PIPESPAN_STATE_DIR": str(folder / "state"),
        **({"PIPESPAN_STORE": "none"} if dsn is None else {"PIPESPAN_DSN": dsn}),
    }
    command = [sys.executable, "-W", "error", str(script)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
