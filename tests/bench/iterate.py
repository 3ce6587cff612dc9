"""A loop over an iterable that is watched."""

from __future__ import annotations

import os

from tqdm import tqdm

import pipespan
from tests.bench.health import with_health
from tests.bench.pairs import Side, timed_pairs
from tests.bench.result import Options, Samples


def against_tqdm(options: Options) -> dict[str, Samples]:
    """Measure an iteration of `step.track(range(...))` and one of `tqdm(range(...))`."""
    count = options.pick(10**7, 10**6)
    pipespan.configure(store="none")
    with open(os.devnull, "w", encoding="utf-8") as nowhere, pipespan.pipeline("bench") as root:

        def ours() -> None:
            with root.step("loop") as step:
                for _ in step.track(range(count)):
                    pass

        def peer() -> None:
            for _ in tqdm(range(count), file=nowhere):
                pass

        return {"track": with_health(timed_pairs(Side(ours), Side(peer), units=count, pairs=7, scale=1e9))}
