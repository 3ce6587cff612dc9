"""`pipespan ship`: deliver what waits in the spool of this host."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line, plural, scaled
from pipespan.cli.services import ShipReport

if TYPE_CHECKING:
    from pipespan.config import Settings

EXIT_WAITING = 1
"""Something is left in the spool."""


@click.command("ship")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Give up after so many seconds.",
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, timeout: float, as_json: bool) -> int:
    """Deliver what dead or disconnected processes of this host left behind.

    Exits with 0 when nothing is left for this database; what waits for other databases is told only.
    """
    invocation = current(ctx)
    settings = invocation.settings()
    report = invocation.services.ship(settings, timeout)
    if as_json:
        print_json(open_console(), report)
    else:
        click.echo(f"delivered {plural(report.rows, 'row')}")
        for line in (*_rest(report), *_elsewhere(report, settings)):
            click.echo(line, err=True)
    return EXIT_WAITING if report.waiting_streams else 0


def _rest(report: ShipReport) -> Iterator[str]:
    """Yield a line for each kind of thing that was not delivered."""
    if report.rejected:
        yield f"{plural(report.rejected, 'row')} refused by the database; they are kept in the spool's files of rejects"
    if report.waiting_streams:
        what = f"{plural(report.waiting_streams, 'stream')} with at most {scaled(report.waiting_bytes)}B"
        yield f"{what} left; `pipespan ship` again when the database answers"
    if report.live_streams:
        yield f"{plural(report.live_streams, 'stream')} of living processes, which ship for themselves"


def _elsewhere(report: ShipReport, settings: Settings) -> Iterator[str]:
    """Yield a line for each other database that rows wait for, and one on how to give them up."""
    for target in report.other_targets:
        kind, _, place = target.partition(":")
        if kind == "embedded":
            # An empty address is none, and without one the embedded database is meant.
            unset = "" if settings.dsn is None else "PIPESPAN_DSN= "
            how = f"`{unset}PIPESPAN_STATE_DIR={shlex.quote(place)} pipespan ship`"
        else:
            how = "`pipespan ship --dsn ...` with the address of that database"
        yield one_line(f"more waits for {target}; {how} delivers it")
    if report.other_targets:
        spool = one_line(str(settings.spool_dir()))
        yield f"to give such rows up, remove the folders in {spool} whose meta.json names that database"
