from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.watched import Watched, watched_programs

_GROW = """
    MB = 1 << 20
    held = [bytes(60 * MB)]

    class Leak(list): pass

    with pipespan.pipeline("run") as run, run.step("grow", total=10_000) as step:
        step.advance(7)
        leaks = [Leak() for _ in range(5000)]
        while len(held) < int(sys.argv[1]):
            held.append(bytearray(b"x" * MB))
            time.sleep(float(sys.argv[2]))
        sys.stdin.readline()
"""


@pytest.fixture
def watched(tmp_path: Path, dsn: str) -> Iterator[Watched]:
    with watched_programs(tmp_path, dsn) as made:
        yield made


def test_memory_that_grows_is_told_ahead(watched: Watched) -> None:
    """A warning says when the limit will be reached, once for a while, although samples go on."""
    child = watched.start(
        _GROW, 100_000, 0.1, PIPESPAN_MEMORY_LIMIT_BYTES=str(1 << 30), PIPESPAN_SAMPLE_INTERVAL_S="0.5"
    )
    event = watched.event("forecast", 40)
    details: Any = event.details
    assert event.severity == "WARNING"
    assert "in about" in event.title
    left_s = (details["limit_bytes"] - details["used_bytes"]) / (10 * (1 << 20))
    assert 0.3 * left_s < details["left_s"] < 8 * left_s
    assert details["limit_bytes"] == 1 << 30
    child.kill()
    assert len(watched.events("forecast")) == 1


def test_near_the_limit_everything_is_dumped(watched: Watched) -> None:
    """At 90 % the stacks, the open nodes, and counts of objects by type are told before the killer comes."""
    watched.start(
        _GROW, 250, 0.005, PIPESPAN_MEMORY_LIMIT_BYTES=str(300 << 20), PIPESPAN_SAMPLE_INTERVAL_S="0.5"
    )
    event = watched.event("memory", 40)
    details: Any = event.details
    assert "of the limit that was set" in event.title
    assert {"node_id": "run/grow", "completed": 7, "total": 10_000} in details["nodes"]
    assert details["objects"]["__main__.Leak"] == 5000
    assert "program0.py" in details["threads"][0]["stack"][-1]
    assert details["own_bytes"] > 0.9 * details["limit_bytes"]


def test_memory_that_is_taken_once_is_no_leak(watched: Watched) -> None:
    """A program that fills half of its limit and then keeps it is not told of."""
    child = watched.start(
        _GROW, 150, 0.01, PIPESPAN_MEMORY_LIMIT_BYTES=str(400 << 20), PIPESPAN_SAMPLE_INTERVAL_S="0.1"
    )
    watched.until(lambda: watched.source.experiments(limit=1))
    with pytest.raises(Exception, match="timed out"):
        child.wait(timeout=12)
    assert watched.events("memory") == []
    titles = [event.details["left_s"] for event in watched.events("forecast")]
    assert len(titles) <= 1
