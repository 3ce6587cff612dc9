"""What commands share: the options that choose a store, and the services they work with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipespan.cli.services import Services, WiredServices

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.store.base import Sink, Source
    from pipespan.store.maintenance import Maintenance

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def utc_now() -> datetime:
    """Return the time, aware."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Invocation:
    """What one call of the command line works with; tests put their own in.

    Attributes:
        dsn: given by option, else None.
        state_dir: given by option, else None.
        source: read from this one instead of the wired one; it is not closed.
        services: the composition root.
        now: wall clock.
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """

    dsn: str | None = None
    state_dir: Path | None = None
    source: Source | None = None
    services: Services = field(default_factory=WiredServices)
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def settings(self) -> Settings:
        """Return the settings in force.

        Raises:
            SettingsError: a setting cannot be understood.
        """
        return self.services.load_settings(dsn=self.dsn, state_dir=self.state_dir)

    @contextlib.contextmanager
    def open_source(self) -> Iterator[Source]:
        """Give the store to read from.

        Raises:
            StoreError: there is none that answers.
        """
        if self.source is not None:
            yield self.source
            return
        settings = self.settings()
        source = self.services.open_source(settings)
        try:
            yield source
        finally:
            source.close()

    @contextlib.contextmanager
    def open_import_sink(self) -> Iterator[Sink]:
        """Give what writes imported experiments.

        Raises:
            StoreError: there is none that answers.
        """
        sink = self.services.open_import_sink(self.settings())
        try:
            yield sink
        finally:
            sink.close()

    @contextlib.contextmanager
    def open_maintenance(self) -> Iterator[Maintenance]:
        """Give what looks after the database.

        Raises:
            StoreError: it does not answer.
        """
        maintenance = self.services.open_maintenance(self.settings())
        try:
            yield maintenance
        finally:
            maintenance.close()


def current(ctx: click.Context) -> Invocation:
    """Return the invocation that `ctx` belongs to."""
    found = ctx.find_object(Invocation)
    return Invocation() if found is None else found


def store_options(function: FunctionT) -> FunctionT:
    """Add `--dsn` and `--state-dir`; those of a subcommand win over those before it."""
    for option in (
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            expose_value=False,
            is_eager=True,
            callback=_keep,
            help="Folder of the spool and the embedded database.  [env: PIPESPAN_STATE_DIR]",
        ),
        click.option(
            "--dsn",
            expose_value=False,
            is_eager=True,
            callback=_keep,
            help="Postgres that keeps the experiments, instead of the embedded one; others see it in the process "
            "list, so put passwords into the variable.  "
            "[env: PIPESPAN_DSN]",
        ),
    ):
        function = option(function)
    return function


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        changes: dict[str, Any] = {param.name: value}
        ctx.obj = replace(current(ctx), **changes)


def experiment_argument(function: FunctionT) -> FunctionT:
    """Add the argument EXPERIMENT, the newest one by default."""
    return click.argument("experiment", default="last")(function)


def json_option(function: FunctionT) -> FunctionT:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(function)
