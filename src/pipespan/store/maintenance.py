"""What looks after a store: `Maintenance`, and the values that it takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pipespan.model.retention import Retention


@dataclass(frozen=True, slots=True)
class PruneRules:
    """What may go; None limits nothing, and what any rule lets go goes. Pinned experiments always stay.

    Attributes:
        mild_before: logs below ERROR of partitions (days) that end before.
        rest_before: all rows of partitions that end before, and experiments without a sign of life since.
        max_bytes: while all is larger, the oldest days: first logs below ERROR, then everything.
        keep_runs: ended experiments beyond the newest so many of their name.
    """

    mild_before: datetime | None = None
    rest_before: datetime | None = None
    max_bytes: int | None = None
    keep_runs: int | None = None


@dataclass(frozen=True, slots=True)
class FreedPartition:
    """What went from a partition; rows and bytes are estimates of the database."""

    partition: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GoneExperiment:
    """An experiment that went, or would go, as a whole."""

    id: str
    name: str
    status: str
    last_sign: datetime


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What went, or with `is_dry_run` would go.

    Attributes:
        partitions: those that were dropped or made smaller.
        experiments: those that went as a whole.
        rows: deleted one by one: of these experiments, and of default partitions.
        busy: partitions that were in use all the time; they are left for the next time.
        bytes_before: size of all tables; space in them that will be used again does not count.
        bytes_after: the same afterwards.
        max_bytes: the limit that was asked for, if any.
        is_complete: whether it came to its end, and was not told to stop.
    """

    partitions: tuple[FreedPartition, ...] = ()
    experiments: tuple[GoneExperiment, ...] = ()
    rows: int = 0
    busy: tuple[str, ...] = ()
    bytes_before: int = 0
    bytes_after: int = 0
    max_bytes: int | None = None
    is_complete: bool = True
    is_dry_run: bool = False

    @property
    def is_over_limit(self) -> bool:
        """Whether more is left than was asked for: what is pinned, or of today."""
        return self.max_bytes is not None and self.bytes_after > self.max_bytes


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table with its indexes and partitions; `live_bytes` leaves out the space of deleted rows."""

    name: str
    rows: int
    bytes: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of a table.

    Attributes:
        table: the partitioned table.
        count: how many, without the default one.
        starts_at: of the oldest one.
        ends_at: of the newest one; rows from then on fall into the default one.
        default_rows: how many fell there; counted up to `DEFAULT_ROWS_COUNTED`.
    """

    table: str
    count: int
    starts_at: datetime | None
    ends_at: datetime | None
    default_rows: int


@dataclass(frozen=True, slots=True)
class DeadRows:
    """Old versions of rows in a table that autovacuum has to clear away."""

    table: str
    live: int
    dead: int
    vacuumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueryTime:
    """How long one of our queries took just now, on the newest experiment; None when it was cut off."""

    name: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class IndexUse:
    """How often an index was used since the statistics began, over all partitions."""

    name: str
    table: str
    scans: int
    bytes: int
    is_valid: bool


@dataclass(frozen=True, slots=True)
class RetentionState:
    """The rules in force, and how well they are kept.

    Attributes:
        rules: None when nothing is ever removed by itself.
        is_default: they are the built-in ones of an embedded database.
        is_set: somebody has decided, be it for no rules.
        last_run_at: when they were last applied whole by a writer.
        overdue: how many partitions hold rows that should have gone.
        oldest_overdue_at: when the first of them should have gone.
        pinned: how many experiments stay whatever the rules are.
    """

    rules: Retention | None = None
    is_default: bool = False
    is_set: bool = False
    last_run_at: datetime | None = None
    overdue: int = 0
    oldest_overdue_at: datetime | None = None
    pinned: int = 0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at the database found; without a schema of this version, only the first fields."""

    database: str
    server_version: str
    now: datetime
    schema_version: int
    newest_version: int
    schema_trouble: str | None = None
    sizes: Sequence[TableSize] = ()
    partitions: Sequence[Partitions] = ()
    dead: Sequence[DeadRows] = ()
    queries: Sequence[QueryTime] = ()
    indexes: Sequence[IndexUse] = ()
    retention: RetentionState = field(default_factory=RetentionState)


DEFAULT_ROWS_COUNTED = 10_001
"""Rows of a default partition are counted up to here; more are as bad."""


class Maintenance(Protocol):
    """Looks after one database. All raise `StoreUnavailableError` and `SchemaError`."""

    def database_name(self) -> str:
        """Return what the database is called."""

    def prune(
        self, rules: PruneRules, *, is_dry_run: bool = False, may_go_on: Callable[[], bool] = lambda: True
    ) -> PruneReport:
        """Remove what the rules let go, in small steps that each leave the database whole.

        Args:
            rules: what may go.
            is_dry_run: only tell what would go.
            may_go_on: asked between two steps.
        """

    def retention(self) -> Retention | None:
        """Return the rules in force."""

    def set_retention(self, rules: Retention | None) -> None:
        """Set the rules; None keeps everything."""

    def pin(self, experiment_id: str, *, is_pinned: bool) -> bool:
        """Let retention leave an experiment alone, or no longer; return False when there is none of this id."""

    def inspect(self) -> Inspection:
        """Look at everything that may be wrong; changes nothing."""

    def recreate(self) -> Sequence[str]:
        """Drop every object of pipespan and make the schema anew; return the migrations that were applied."""

    def close(self) -> None:
        """Give back what is held; never raises."""
