"""Opens steps when told to: each line of stdin is how many.

Answers with seconds for a step: of the clock, of the calling thread's CPU, of all threads' until all is delivered.
"""

from __future__ import annotations

import gc
import json
import sys
import time

import pipespan

FLUSH_S = 30.0


def main() -> None:
    """Answer until stdin ends."""
    with pipespan.pipeline("bench") as run:
        for line in sys.stdin:
            print(json.dumps(_burst(run, int(line))), flush=True)


def _burst(run: pipespan.Node, count: int) -> list[float]:
    gc.collect()
    cpu_s, caller_s, wall_s = time.process_time(), time.thread_time(), time.perf_counter()
    with run.phase("bench"):
        for _ in range(count):
            with pipespan.step("part"):
                pass
    took_s, caller_s = time.perf_counter() - wall_s, time.thread_time() - caller_s
    if not pipespan.flush(FLUSH_S):
        raise TimeoutError("not all was delivered")
    return [took_s / count, caller_s / count, (time.process_time() - cpu_s) / count]


if __name__ == "__main__":
    main()
