"""Runs benchmarks and prints what they found: `python tests/bench/run.py [NAME...] [--json] [--quick]`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def _make_importable() -> None:
    """Make `tests.bench` importable here and in child processes, and `pipespan` where it is not installed."""
    folders = [str(_ROOT)]
    if importlib.util.find_spec("pipespan") is None:
        folders.append(str(_ROOT / "src"))
    # This file's own folder goes: its modules have short names that others have too.
    sys.path[:] = [
        *folders,
        *(path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent),
    ]
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([given] if given else [])])


if __name__ == "__main__":
    _make_importable()
    from tests.bench.command import main

    sys.exit(main(sys.argv[1:]))
