"""`pipespan ship`: deliver what waits in the spool of this host."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line, plural, scaled
from pipespan.cli.services import ShipReport

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
    """Deliver what dead or disconnected processes of this host left behind; exit with 0 when nothing is left."""
    invocation = current(ctx)
    report = invocation.services.ship(invocation.settings(), timeout)
    if as_json:
        print_json(open_console(), report)
    else:
        click.echo(f"delivered {plural(report.rows, 'row')}")
        for line in _rest(report):
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
    for target in report.other_targets:
        yield f"more waits for {one_line(target)}; deliver it with --dsn"
