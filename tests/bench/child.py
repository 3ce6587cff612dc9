"""Runs one source of figures in a fresh interpreter: OTel's providers can be set once in a process only."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from tests.bench.result import Options, Samples

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 3600.0
CLEAN_UP_S = 30.0

Source = Callable[[Options], Mapping[str, Samples]]


class MeasureError(Exception):
    """A benchmark could not be measured; the message ends with what its process said."""


def measure(source: str, options: Options) -> dict[str, Samples]:
    """Run `source` in a process of its own and return what it measured.

    Raises:
        MeasureError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="pipespan-bench-") as folder:
        answer = Path(folder) / "answer.json"
        command = [
            sys.executable,
            "-m",
            "tests.bench.child",
            source,
            json.dumps(asdict(options)),
            str(answer),
        ]
        process = subprocess.Popen(
            command, cwd=folder, env=environment(Path(folder)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip
        timeout_s = TIMEOUT_S + 60 * options.minutes
        try:
            _, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise MeasureError(f"{source} took longer than {timeout_s:.0f} s") from error
        finally:
            _end(process)
        if process.returncode != 0 or not answer.exists():
            raise MeasureError(f"{source} ended with {process.returncode}:\n{said[-2000:]}")
        content = json.loads(answer.read_text(encoding="utf-8"))
    return {name: Samples(**samples) for name, samples in content.items()}


def _end(process: subprocess.Popen[str]) -> None:
    """End `process` if it still runs, with time to stop its database server."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(CLEAN_UP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def environment(state_dir: Path) -> dict[str, str]:
    """Return an environment without settings of whoever runs the benchmarks."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_", "LOGFIRE_"))
    }  # fmt: skip
    paths = [str(ROOT), *([clean["PYTHONPATH"]] if clean.get("PYTHONPATH") else [])]
    return {**clean, "PYTHONPATH": os.pathsep.join(paths), "PIPESPAN_STATE_DIR": str(state_dir)}


def main(source: str, options: str, answer: str) -> None:
    """Measure, and leave the figures in the file `answer`."""
    # Who runs us in the background has it ignored, and then nothing would stop our server.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module, _, function = source.partition(":")
    run: Source = getattr(importlib.import_module(f"tests.bench.{module}"), function)
    found = {name: asdict(samples) for name, samples in run(Options(**json.loads(options))).items()}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
