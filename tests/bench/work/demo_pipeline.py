"""The demo's pipeline over a given folder, whole: `python -m tests.bench.work.demo_pipeline FOLDER OUT ANSWER`."""

from __future__ import annotations

import atexit
import json
import sys
import time
from pathlib import Path
from unittest import mock

from pipespan.cli.demo import pipeline
from pipespan.cli.demo.sources import Root
from tests.bench.memory import most_resident_mb

UNBOUNDED_S = "100000"


def main(folder: Path, out: Path, answer: Path) -> None:
    """Run the demo's pipeline, and write down how much memory this process took at most."""
    started_s = time.time()

    def at_end() -> None:
        found = {"memory_mb": most_resident_mb(), "seconds": time.time() - started_s}
        answer.write_text(json.dumps(found), encoding="utf-8")

    # Registered before pipespan's own, so that it runs after it.
    atexit.register(at_end)
    # The machine's own sources are too many to go through again and again.
    with mock.patch.object(pipeline, "find_roots", return_value=[Root("sources", folder)]):
        pipeline.main(["--seconds", UNBOUNDED_S, "--workers", "2", "--out", str(out)])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
