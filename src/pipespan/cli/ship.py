"""`pipespan ship`: deliver what waits in the spool of this host."""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import plural

EXIT_WAITING = 1
"""Something is left in the spool."""


@click.command("ship")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Give up after so many seconds."
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, timeout: float, as_json: bool) -> int:
    """Deliver what dead or disconnected processes of this host left behind; exit with 0 when nothing is left."""
    invocation = current(ctx)
    report = invocation.wiring.ship(invocation.settings(), timeout)
    if as_json:
        print_json(open_console(), report)
    else:
        click.echo(f"delivered {plural(report.rows, 'row')}")
        if report.waiting_rows or report.waiting_streams:
            waiting = f"{plural(report.waiting_rows, 'row')} of {plural(report.waiting_streams, 'stream')}"
            click.echo(f"{waiting} still wait; `pipespan ship` again when the database answers", err=True)
        if report.other_targets:
            streams = plural(report.other_targets, "stream")
            click.echo(f"{streams} for another database left alone; name it with --dsn", err=True)
    return EXIT_WAITING if report.waiting_rows or report.waiting_streams else 0
