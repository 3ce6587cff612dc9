"""A job that works, records as people do, and tells what its work took: `python -m tests.bench.work.harm TURNS`."""

from __future__ import annotations

import json
import logging
import sys
import time

import pipespan

SPIN = 20_000
"""Turns of a loop that stand for the work of one step: some milliseconds."""


def main(turns: int) -> None:
    """Do the work of `turns` steps, and print its wall and CPU time; the exit is not in it."""
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.INFO)
    log = logging.getLogger("work")
    with pipespan.pipeline("work") as run, run.phase("part", total=turns) as part:
        time.sleep(0.3)  # what is loaded late is loaded then
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        for turn in range(turns):
            with part.step("step"):
                log.info("turn %d begins", turn)
                spin()
                log.info("turn %d ends", turn)
            part.advance()
        took = {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.thread_time() - cpu_s}
    lost = pipespan.health()
    print(json.dumps({**took, "lost": lost.dropped_rows + lost.rejected_rows + lost.failed_rows}))


def spin() -> int:
    """Keep the processor busy."""
    total = 0
    for number in range(SPIN):
        total += number * number % 7
    return total


if __name__ == "__main__":
    main(int(sys.argv[1]))
