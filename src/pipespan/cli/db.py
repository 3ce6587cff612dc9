"""`pipespan db`: the schema, the address and the embedded server."""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line


@click.group("db")
@store_options
def command() -> None:
    """Manage the database that experiments are kept in."""


@command.command("migrate")
@json_option
@store_options
@click.pass_context
def migrate(ctx: click.Context, *, as_json: bool) -> None:
    """Create or update the tables; does nothing when they are up to date."""
    invocation = current(ctx)
    applied = invocation.services.migrate(invocation.settings())
    if as_json:
        print_json(open_console(), {"applied": list(applied)})
        return
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("the schema is up to date")


@command.command("url")
@store_options
@click.pass_context
def url(ctx: click.Context) -> None:
    """Print the address of the database, without password, for psql and other tools."""
    invocation = current(ctx)
    click.echo(invocation.services.database_url(invocation.settings()))


@command.command("stop")
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
