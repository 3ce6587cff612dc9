"""What processes tell of their recording, summed up by whoever reads it."""

from __future__ import annotations

from typing import Any

import pytest

from pipespan.model.monitoring import MONITORING_KEY, Monitoring, monitoring_of


def evidence(**figures: Any) -> dict[str, Any]:
    return {"pid_namespace": "pid:[1]", MONITORING_KEY: figures}


def test_figures_survive_the_row() -> None:
    """What a job's evidence keeps is read back."""
    told = Monitoring(accepted=9, shipped=5, waiting=4, spool_bytes=100, cpu_s=0.5, job_cpu_s=10.0)
    assert monitoring_of([({MONITORING_KEY: told.evidence()}, False)]) == told
    assert told.cpu_share == pytest.approx(0.05)


def test_processes_are_summed() -> None:
    """The share is that of all their CPU time."""
    found = monitoring_of(
        [
            (evidence(accepted=10, shipped=8, waiting=2, cpu_s=1.0, job_cpu_s=10.0), False),
            (evidence(accepted=5, shipped=5, waiting=0, dropped=3, cpu_s=1.0, job_cpu_s=30.0), False),
            ({}, False),
        ]
    )
    assert found is not None
    assert (found.accepted, found.shipped, found.waiting, found.dropped, found.lost) == (15, 13, 2, 3, 3)
    assert found.cpu_share == pytest.approx(0.05)


def test_what_was_on_its_way_with_the_end_has_arrived() -> None:
    """A job's end comes the same way as its rows."""
    found = monitoring_of([(evidence(accepted=10, shipped=8, waiting=2, spool_bytes=5), True)])
    assert found is not None
    assert (found.shipped, found.waiting, found.spool_bytes) == (10, 0, 0)


@pytest.mark.parametrize("odd", [{}, {MONITORING_KEY: None}, {MONITORING_KEY: "much"}, {MONITORING_KEY: [1]}])
def test_without_figures_there_is_nothing(odd: dict[str, Any]) -> None:
    """Jobs of other versions, or rows of somebody else's."""
    assert monitoring_of([(odd, False)]) is None
    assert monitoring_of([]) is None


def test_odd_figures_count_as_none() -> None:
    """Nothing that a row may hold makes the reader fail."""
    found = monitoring_of([(evidence(accepted="many", shipped=None, cpu_s=True), False)])
    assert found == Monitoring()
