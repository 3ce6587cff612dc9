"""The closed vocabularies that tables, spans and displays share."""

from __future__ import annotations

from typing import Final, Literal

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
NodeLevel = Literal["pipeline", "phase", "step", "substep"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

STATUSES: Final[tuple[Status, ...]] = ("pending", "running", "completed", "failed", "cancelled")
TERMINAL_STATUSES: Final[frozenset[Status]] = frozenset({"completed", "failed", "cancelled"})
BROKEN_OFF: Final[frozenset[Status]] = frozenset({"failed", "cancelled"})
NODE_LEVELS: Final[tuple[NodeLevel, ...]] = ("pipeline", "phase", "step", "substep")
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
ERROR_LEVELS: Final[frozenset[LogLevel]] = frozenset({"ERROR", "CRITICAL"})
MILD_LEVELS: Final[frozenset[LogLevel]] = frozenset({"DEBUG", "INFO"})
"""What goes first where there is no room for all."""

# The lowest OTel severity number of each level: OTel logs data model, "severity fields".
_SEVERITY_FLOORS: Final[tuple[tuple[int, LogLevel], ...]] = (
    (21, "CRITICAL"),
    (17, "ERROR"),
    (13, "WARNING"),
    (9, "INFO"),
)


_LEVELS_UNDER: Final[dict[tuple[str, str], NodeLevel]] = {
    (parent, wanted): NODE_LEVELS[max(rank, min(parent_rank + 1, len(NODE_LEVELS) - 1))]
    for parent_rank, parent in enumerate(NODE_LEVELS)
    for rank, wanted in enumerate(NODE_LEVELS)
}


def level_under(parent: NodeLevel, wanted: str) -> NodeLevel:
    """Return the level of a child that is opened as `wanted`: never as high as its parent, at the least a substep."""
    return _LEVELS_UNDER[parent, wanted]


def child_level(parent: NodeLevel) -> NodeLevel:
    """Return the level of a child of `parent`; below a substep all are substeps."""
    return NODE_LEVELS[min(NODE_LEVELS.index(parent) + 1, len(NODE_LEVELS) - 1)]


def level_of_severity(severity_number: int) -> LogLevel:
    """Return the level of an OTel severity number (1 to 24); unspecified (0) counts as DEBUG."""
    for floor, level in _SEVERITY_FLOORS:
        if severity_number >= floor:
            return level
    return "DEBUG"


def levels_at_least(level: LogLevel) -> tuple[LogLevel, ...]:
    """Return `level` and all that are more severe, mildest first."""
    return LOG_LEVELS[LOG_LEVELS.index(level) :]
