"""`pipespan db url` and `pipespan db stop`: the address, and the embedded server."""

from __future__ import annotations

import click

from pipespan.cli.options import current, store_options
from pipespan.cli.render.text import one_line


@click.command("url")
@store_options
@click.pass_context
def url(ctx: click.Context) -> None:
    """Print the address of the database, without password, for psql and other tools."""
    invocation = current(ctx)
    click.echo(invocation.services.database_url(invocation.settings()))


@click.command("stop")
@store_options
@click.pass_context
def stop(ctx: click.Context) -> None:
    """Stop the embedded database of the state folder; the next command that needs it starts it again.

    A server that --dsn or PIPESPAN_DSN names is never touched.
    """
    invocation = current(ctx)
    settings = invocation.settings()
    place = one_line(str(settings.state_dir))
    if invocation.services.stop_database(settings):
        click.echo(f"stopped the embedded database in {place}")
    else:
        click.echo(f"no embedded database runs in {place}")
    if settings.dsn is not None:
        click.echo("the server that --dsn or PIPESPAN_DSN names is not touched", err=True)
