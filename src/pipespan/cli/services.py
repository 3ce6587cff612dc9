"""What commands need of the composition root, so that a test can put its own in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.model.rows import Row
    from pipespan.receiver.options import ServeOptions
    from pipespan.store.base import Sink, Source
    from pipespan.store.maintenance import Maintenance


READER_DELIVERY_S: Final = 3.0
"""A reading command waits no longer for what dead processes left; the rest comes with the next one."""


class ShipReport(Protocol):
    """What came of delivering the spool."""

    @property
    def rows(self) -> int:
        """Rows delivered."""

    @property
    def rejected(self) -> int:
        """Rows that the database refused, kept in files."""

    @property
    def waiting_streams(self) -> int:
        """Streams of dead processes that have something left for this database."""

    @property
    def waiting_bytes(self) -> int:
        """How much that is."""

    @property
    def live_streams(self) -> int:
        """Streams of living processes, which ship for themselves."""

    @property
    def other_targets(self) -> Sequence[str]:
        """Databases that further streams wait for."""


class Services(Protocol):
    """The composition root, as commands see it."""

    def load_settings(self, *, dsn: str | None, state_dir: Path | None) -> Settings:
        """Return the settings in force; None means not given."""

    def open_source(self, settings: Settings) -> Source:
        """Return the store to read from."""

    def open_import_sink(self, settings: Settings) -> Sink:
        """Return what writes imported experiments."""

    def migrate(self, settings: Settings) -> Sequence[str]:
        """Bring the schema up to date and return the names of the migrations applied."""

    def waiting_migrations(self, settings: Settings) -> Sequence[str]:
        """Return the names of the migrations that `migrate` would apply."""

    def make_roles(self, settings: Settings) -> None:
        """Make or renew the database's roles for writers and readers."""

    def database_url(self, settings: Settings) -> str:
        """Return the address of the database, without password."""

    def stop_database(self, settings: Settings) -> bool:
        """Stop the embedded server; tell whether it ran."""

    def ship(self, settings: Settings, timeout_s: float) -> ShipReport:
        """Deliver the spool."""

    def serve_token(self, settings: Settings) -> str:
        """Return the token that senders have to show to the receiver."""

    def serve(
        self, settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
    ) -> int:
        """Receive OTLP until told to stop; return the exit code."""

    def start_watcher(self, settings: Settings) -> None:
        """Start what ships and watches, if it is wanted and does not run yet; never raises."""

    def open_maintenance(self, settings: Settings) -> Maintenance:
        """Return what looks after the database."""

    def ship_rows(self, settings: Settings, rows: Iterable[Row]) -> int:
        """Write rows straight into the database; return how many."""

    def useful_queries(self) -> Mapping[str, str]:
        """Return the queries for people, by name."""


class WiredServices:
    """The services as `pipespan.wiring` has them; each loads only what it needs."""

    def load_settings(self, *, dsn: str | None, state_dir: Path | None) -> Settings:
        """See `Services.load_settings`."""
        from pipespan.config import load_settings  # noqa: PLC0415 - help and version need none

        return load_settings(dsn=dsn, state_dir=state_dir)

    def open_source(self, settings: Settings) -> Source:
        """See `Services.open_source`.

        What dead processes left in the spool is delivered first: who looks at a run wants to see its end. And what
        processes cannot tell whose interpreter is held.
        """
        from pipespan.wiring.hangs import tell_hangs_quietly  # noqa: PLC0415 - as above
        from pipespan.wiring.ship import deliver_orphans_quietly  # noqa: PLC0415 - as above
        from pipespan.wiring.stores import open_source  # noqa: PLC0415 - as above

        deliver_orphans_quietly(settings, READER_DELIVERY_S)
        tell_hangs_quietly(settings)
        return open_source(settings)

    def open_import_sink(self, settings: Settings) -> Sink:
        """See `Services.open_import_sink`."""
        from pipespan.wiring.stores import open_import_sink  # noqa: PLC0415 - as above

        return open_import_sink(settings)

    def migrate(self, settings: Settings) -> Sequence[str]:
        """See `Services.migrate`."""
        from pipespan.wiring.stores import migrate  # noqa: PLC0415 - as above

        return migrate(settings)

    def waiting_migrations(self, settings: Settings) -> Sequence[str]:
        """See `Services.waiting_migrations`."""
        from pipespan.wiring.stores import waiting_migrations  # noqa: PLC0415 - as above

        return waiting_migrations(settings)

    def make_roles(self, settings: Settings) -> None:
        """See `Services.make_roles`."""
        from pipespan.wiring.stores import make_roles  # noqa: PLC0415 - as above

        make_roles(settings)

    def database_url(self, settings: Settings) -> str:
        """See `Services.database_url`."""
        from pipespan.wiring.stores import database_url  # noqa: PLC0415 - as above

        return database_url(settings)

    def stop_database(self, settings: Settings) -> bool:
        """See `Services.stop_database`."""
        from pipespan.wiring.stores import stop_database  # noqa: PLC0415 - as above

        return stop_database(settings)

    def ship(self, settings: Settings, timeout_s: float) -> ShipReport:
        """See `Services.ship`."""
        from pipespan.wiring.ship import ship  # noqa: PLC0415 - as above

        return ship(settings, timeout_s)

    def serve_token(self, settings: Settings) -> str:
        """See `Services.serve_token`."""
        from pipespan.wiring.receiving import serve_token  # noqa: PLC0415 - as above

        return serve_token(settings)

    def serve(
        self, settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
    ) -> int:
        """See `Services.serve`."""
        from pipespan.wiring.receiving import receive  # noqa: PLC0415 - as above

        return receive(settings, options, on_ready)

    def start_watcher(self, settings: Settings) -> None:
        """See `Services.start_watcher`."""
        from pipespan.wiring.watching import WatcherKeeper  # noqa: PLC0415 - as above

        WatcherKeeper(settings).ensure()

    def open_maintenance(self, settings: Settings) -> Maintenance:
        """See `Services.open_maintenance`."""
        from pipespan.wiring.maintenance import open_maintenance  # noqa: PLC0415 - as above

        return open_maintenance(settings)

    def ship_rows(self, settings: Settings, rows: Iterable[Row]) -> int:
        """See `Services.ship_rows`."""
        from pipespan.wiring.maintenance import ship_rows  # noqa: PLC0415 - as above

        return ship_rows(settings, rows)

    def useful_queries(self) -> Mapping[str, str]:
        """See `Services.useful_queries`."""
        from pipespan.store.sqlfiles import open_sql  # noqa: PLC0415 - as above

        return open_sql().useful()
