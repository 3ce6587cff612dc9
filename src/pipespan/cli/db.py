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
@click.option(
    "--check", "is_check", is_flag=True, help="Change nothing; exit with 1 when something is pending."
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Change nothing; print what would be applied.")
@json_option
@store_options
@click.pass_context
def migrate(ctx: click.Context, *, is_check: bool, is_dry_run: bool, as_json: bool) -> None:
    """Create or update the tables; does nothing when they are up to date."""
    invocation = current(ctx)
    settings = invocation.settings()
    if is_check or is_dry_run:
        names, word = list(invocation.services.waiting_migrations(settings)), "pending"
    else:
        names, word = list(invocation.services.migrate(settings)), "applied"
    if as_json:
        print_json(open_console(), {word: names})
    else:
        for name in names:
            click.echo(f"{word} {name}")
        if not names:
            click.echo("the schema is up to date")
    if is_check and names:
        ctx.exit(1)


@command.command("roles")
@store_options
@click.pass_context
def roles(ctx: click.Context) -> None:
    """Create or renew the roles pipespan_writer and pipespan_reader, to be granted to those who log in.

    The reader can read views and call functions that change nothing, and no table. Run it again after a migration.
    """
    invocation = current(ctx)
    invocation.services.make_roles(invocation.settings())
    click.echo("pipespan_writer and pipespan_reader have their rights; grant them to those who log in")


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
