from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipespan
from tests.docs.pages import PAGES, examples, name_of

_EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(examples(page), start=1)
]


@pytest.mark.parametrize("code", _EXAMPLES)
def test_each_marked_example_runs(code, tmp_path):
    """An example runs as it stands, as a program of its own, without a word on standard error."""
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))}
    environment = {
        **kept,
        "PYTHONPATH": str(Path(pipespan.__file__).resolve().parents[1]),
        "PIPESPAN_STATE_DIR": str(tmp_path / "state"),
        "PIPESPAN_STORE": "none",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_examples():
    """The marks are spelled as this test expects."""
    assert len(_EXAMPLES) >= 4
