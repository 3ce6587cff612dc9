from __future__ import annotations

import logging

import pytest
from opentelemetry._logs import SeverityNumber

from pipespan.model.status import (
    ERROR_LEVELS,
    LOG_LEVELS,
    NODE_LEVELS,
    STATUSES,
    TERMINAL_STATUSES,
    NodeLevel,
    child_level,
    level_of_severity,
    levels_at_least,
)


def test_children_stand_one_level_lower() -> None:
    """Down to substeps, below which all are substeps."""
    levels: list[NodeLevel] = ["pipeline"]
    for _ in range(4):
        levels.append(child_level(levels[-1]))
    assert levels == [*NODE_LEVELS, "substep"]


@pytest.mark.parametrize("number", range(25))
def test_severities_of_otel_have_their_level(number: int) -> None:
    """1 to 4 trace and 5 to 8 debug are DEBUG, then four numbers for each level; unspecified counts as DEBUG."""
    expected = ["DEBUG", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"][max(number - 1, 0) // 4]
    assert level_of_severity(number) == expected


def test_levels_agree_with_logging_and_with_otel() -> None:
    """The names are those of `logging`, in its order; the numbers are OTel's."""
    assert sorted(LOG_LEVELS, key=logging.getLevelName) == list(LOG_LEVELS)
    assert level_of_severity(SeverityNumber.ERROR.value) == "ERROR"
    assert level_of_severity(SeverityNumber.FATAL4.value) == "CRITICAL"


def test_levels_from_one_on() -> None:
    """A filter by level takes what is more severe as well."""
    assert levels_at_least("DEBUG") == LOG_LEVELS
    assert levels_at_least("ERROR") == ("ERROR", "CRITICAL")
    assert set(levels_at_least("ERROR")) == ERROR_LEVELS


def test_statuses_are_open_or_final() -> None:
    """Two of the five are open."""
    assert [status for status in STATUSES if status not in TERMINAL_STATUSES] == ["pending", "running"]
