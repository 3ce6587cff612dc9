"""What commands need of the composition root, as Protocols, so that a test can put its own in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.store.base import Source


class ShipReport(Protocol):
    """What came of delivering the spool."""

    @property
    def rows(self) -> int:
        """Rows delivered."""

    @property
    def waiting_rows(self) -> int:
        """Rows left in the spool."""

    @property
    def waiting_streams(self) -> int:
        """Streams that have rows left."""

    @property
    def other_targets(self) -> int:
        """Streams that belong to another database."""


class Wiring(Protocol):
    """What commands need of the composition root; the module `pipespan.wiring` is one."""

    def load_settings(self, *, dsn: str | None = None, state_dir: Path | None = None) -> Settings:
        """Return the settings in force; None means not given."""

    def open_source(self, settings: Settings) -> Source:
        """Return the store to read from."""

    def migrate(self, settings: Settings) -> tuple[str, ...]:
        """Bring the schema up to date and return the names of the migrations applied."""

    def database_url(self, settings: Settings) -> str:
        """Return the address of the database, without password."""

    def stop_database(self, settings: Settings) -> bool:
        """Stop the embedded server; tell whether it ran."""

    def ship(self, settings: Settings, timeout_s: float) -> ShipReport:
        """Deliver the spool."""
