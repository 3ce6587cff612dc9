"""`pipespan demo` over a given folder, without its view: `python -m tests.bench.work.demo FOLDER OUT ANSWER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipespan.cli.demo.live import PipelineProcess, start_what_ships
from pipespan.cli.options import Invocation


def main(arguments: Sequence[str]) -> int:
    """Start the pipeline as the command does, and wait for it; return its exit code."""
    invocation = Invocation()
    program = [sys.executable, "-m", "tests.bench.work.demo_pipeline", *arguments]
    pipeline = PipelineProcess(program, os.environ, Path(os.devnull))
    with pipeline:
        start_what_ships(invocation, invocation.settings())
        return pipeline.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
