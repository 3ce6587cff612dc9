"""`pipespan db roles`: roles for those who write and those who read."""

from __future__ import annotations

import click

from pipespan.cli.options import current, store_options


@click.command("roles")
@store_options
@click.pass_context
def roles(ctx: click.Context) -> None:
    """Create or renew the roles pipespan_writer and pipespan_reader, to be granted to those who log in.

    The reader can read views and call functions that change nothing, and no table. Run it again after a migration.
    """
    invocation = current(ctx)
    invocation.services.make_roles(invocation.settings())
    click.echo("pipespan_writer and pipespan_reader have their rights; grant them to those who log in")
