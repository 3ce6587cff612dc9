"""Which of two rows about the same thing wins: order-free, so any batch may come twice or in any order.

The same rule stands in SQL (`sql/migrations`); the contract tests hold both against each other.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from pipespan.model.status import TERMINAL_STATUSES, Status


class Versioned(Protocol):
    """What a row needs to be merged."""

    @property
    def attempt(self) -> int:
        """Which restart of the experiment wrote the row, from 1."""

    @property
    def version(self) -> int:
        """Wall clock in nanoseconds at the change, strictly rising per process."""

    @property
    def status(self) -> Status:
        """Status at that instant."""


VersionedT = TypeVar("VersionedT", bound=Versioned)


def precedence(row: Versioned) -> tuple[int, bool, int]:
    """Return the key by which rows are ordered: attempt, then terminal or not, then version.

    A terminal status of an attempt is final: no late heartbeat or progress of that attempt outranks it.
    """
    return (row.attempt, row.status in TERMINAL_STATUSES, row.version)


def merge(known: VersionedT | None, incoming: VersionedT) -> VersionedT:
    """Return the row that stays when `incoming` meets the `known` one; equal ranks keep the known one."""
    if known is None or precedence(incoming) > precedence(known):
        return incoming
    return known
