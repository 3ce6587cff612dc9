"""A short soak: many processes, kills and outages, and then the tables are held against the journals."""

from __future__ import annotations

import time

import pytest

from tests.chaos.soaking import soak_for

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


def test_nothing_is_lost_nothing_is_there_twice_no_status_is_wrong(tmp_path) -> None:
    """Ten seconds of what `python tests/chaos/soak.py` does for as long as it is told."""
    seed = int(time.time())
    verdict, table = soak_for(tmp_path, 10.0, seed, workers=3)
    assert verdict.is_clean, f"seed {seed}\n{table}"
    assert verdict.calls["log"] > 10
