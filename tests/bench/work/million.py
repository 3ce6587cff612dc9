"""Logs in a tight loop: `python -m tests.bench.work.million COUNT ANSWER`."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import pipespan
from tests.bench.memory import resident_mb

WARM_UP = 20_000
LOOK_EVERY = 10_000


def main(count: int, answer: Path) -> None:
    """Log `count` records, and write down what the loop took."""
    log = logging.getLogger("million")
    logging.root.setLevel(logging.INFO)
    with pipespan.pipeline("million") as pipeline, pipespan.step("loop"):
        # Connection, caches and a first batch are there from now on.
        for number in range(WARM_UP):
            log.info("warm-up %d", number)
        pipespan.flush(60)
        before_mb = most_mb = resident_mb()
        start_s = time.perf_counter()
        for number in range(count):
            log.info("record %d of the loop, with a few words more", number)
            if number % LOOK_EVERY == 0:
                most_mb = max(most_mb, resident_mb())
        loop_s = time.perf_counter() - start_s
        most_mb = max(most_mb, resident_mb())
        experiment_id = pipeline.experiment_id
    found = {"experiment_id": experiment_id, "growth_mb": most_mb - before_mb, "loop_s": loop_s}
    answer.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
