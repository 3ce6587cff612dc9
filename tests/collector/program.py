"""A pipeline that does the same each time, whatever takes its telemetry; slow enough to be disturbed in the middle.

`python program.py ROUNDS PAUSE_S` prints a line when a third and when two thirds of it are done, and waits each time
for a line on its standard input, so that what disturbs it happens while it runs.
"""

from __future__ import annotations

import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pipespan

log = logging.getLogger("mill.grind")


def batch(number: int) -> int:
    """Do one batch: nested nodes, progress, records of several kinds, measures."""
    with pipespan.step(f"batch {number}", unit="grains", metadata={"number": number}) as step:
        for grain in step.track(range(5)):
            log.info("grain %d of batch %d", grain, number, extra={"grain": grain, "ratio": grain / 5})
        with step.substep("sift") as sift:
            sift.progress(2, 4, "half of it")
            log.debug("not everybody's interest")
            sift.progress(4, 4, "all of it")
        step.metric(weight_g=number * 1.5, grains=5)
        if number % 3 == 0:
            step.event(
                f"batch {number} is a third one", event_type="milestone", number=number, tags=["a", "ü"]
            )
    return number


def breaks(number: int) -> None:
    """Fail, with a cause."""
    with pipespan.step(f"stone {number}"):
        try:
            dict[str, int]()["missing"]
        except KeyError as cause:
            raise ValueError(f"a stone in batch {number}: schadhaft ⚠") from cause


def main(rounds: int, pause_s: float) -> None:
    """Run."""
    logging.getLogger("mill").setLevel(logging.DEBUG)
    with pipespan.pipeline("mill", params={"rounds": rounds}, tags=["grain", "test"]) as run:
        run.plan("grind", "stones", "pack", "never")
        with run.phase("grind", total=rounds) as grind:
            for number in range(rounds):
                batch(number)
                grind.advance(message=f"batch {number} is done")
                time.sleep(pause_s)
                if number in {rounds // 3, rounds * 2 // 3}:
                    print(f"batch {number}", flush=True)
                    sys.stdin.readline()
        with run.phase("stones"):
            for number in range(3):
                try:
                    breaks(number)
                except ValueError:
                    log.exception("batch %d is lost", number)
                log.warning("went on after stone %d", number, extra={"nested": {"deep": [1, None, "x"]}})
        with run.phase("pack") as pack, ThreadPoolExecutor(3) as pool:
            for number in pool.map(pipespan.wrap(sack), range(9)):
                pack.metric(sack=number)
        run.artifact("s3://mill/flour", kind="flour", sacks=9)


def sack(number: int) -> int:
    """Fill a sack, in whatever thread."""
    with pipespan.step("sack", key=f"sack-{number}", total=2) as step:
        step.advance()
        log.info("sack %d", number)
        step.advance()
    return number


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
