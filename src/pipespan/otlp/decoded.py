"""What decoding gives: rows, and what could not be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.rows import Row, RowType

if TYPE_CHECKING:
    from pipespan.otlp.envelope import Group

MAX_REASONS: Final = 5
"""So many reasons are told to the sender; all are counted."""


@dataclass(slots=True)
class Decoded:
    """The rows of one message.

    Attributes:
        rows: in an order in which they can be written.
        rejected: how many spans, records or points could not be taken.
        reasons: of the first of them.
        lines: rows that are COPY lines already, without secrets (`pipespan.otlp.fastlane`).
        span_lines: spans of other programs whose place the store has to find, as lines.
        error_logs: how many of those lines are logs of level ERROR or CRITICAL, by experiment.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    lines: dict[RowType, list[bytes]] = field(default_factory=dict)
    span_lines: list[bytes] = field(default_factory=list)
    error_logs: Counter[str] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.rows or self.span_lines or any(self.lines.values()))

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.rows) + sum(map(len, self.lines.values()))

    def each(
        self, group: Group, take: Callable[[Any], list[Row]], short: Callable[[Any], list[Any]] | None = None
    ) -> None:
        """Take each record by itself: one that cannot be taken spoils no other.

        Args:
            group: has the records.
            take: makes rows of one.
            short: takes those that it can the short way, and returns the others.
        """
        if group.trouble is not None:
            self.reject(group.trouble, len(group.records))
            return
        for record in group.records if short is None else short(group.records):
            try:
                self.rows.extend(take(record))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                self.reject(str(error))

    def add(self, owners: Iterable[Row], found: Decoded) -> None:
        """Take over what was found of one resource, behind the rows that it refers to."""
        self.rows += owners
        self.rows += found.rows
        for row_type, lines in found.lines.items():
            self.lines.setdefault(row_type, []).extend(lines)
        self.span_lines += found.span_lines
        self.error_logs.update(found.error_logs)
        self.rejected += found.rejected
        self.reasons = [*self.reasons, *found.reasons][:MAX_REASONS]

    def reject(self, reason: str, count: int = 1) -> None:
        """Note that `count` records could not be taken."""
        self.rejected += count
        if count and len(self.reasons) < MAX_REASONS:
            self.reasons.append(reason[:200])


def checked_time(time_unix_ns: int) -> int:
    """Return a time that a `timestamptz` and our own integers hold.

    Raises:
        ValueError: it lies beyond.
    """
    if not 0 <= time_unix_ns < 2**63:
        raise ValueError(f"time {time_unix_ns} is not within 1970 and 2262")
    return time_unix_ns
