"""Opens steps at random moments: `python -m tests.bench.work.visible COUNT`."""

from __future__ import annotations

import random
import sys
import time

import pipespan


def main(count: int) -> None:
    """Open `count` steps; what is looked for is how soon somebody else sees each."""
    chance = random.Random(11)
    with pipespan.pipeline("visible"):
        for number in range(count):
            with pipespan.step(f"step {number}"):
                time.sleep(chance.uniform(0.05, 0.35))


if __name__ == "__main__":
    main(int(sys.argv[1]))
