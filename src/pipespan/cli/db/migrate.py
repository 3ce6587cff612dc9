"""`pipespan db migrate`: the schema, and the rules of retention."""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.retention import retention_text
from pipespan.model.retention import Retention, parse_retention


@click.command("migrate")
@click.option(
    "--retention",
    "retention_words",
    metavar="RULES",
    help="Also set how long rows are kept: `on` (logs below ERROR 30 days, the rest 180, 10 GB in all), `off`, or "
    "such as logs=14d,rest=1y,size=50GB; what is not named is not limited.",
)
@json_option
@store_options
@click.pass_context
def migrate(ctx: click.Context, *, retention_words: str | None, as_json: bool) -> None:
    """Create or update the tables; does nothing when they are up to date."""
    rules = None if retention_words is None else parse_retention(retention_words)
    invocation = current(ctx)
    applied = invocation.services.migrate(invocation.settings())
    document: dict[str, object] = {"applied": list(applied)}
    if retention_words is not None:
        with invocation.open_maintenance() as maintenance:
            maintenance.set_retention(rules)
        document["retention"] = rules
    if as_json:
        print_json(open_console(), document)
        return
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("the schema is up to date")
    if retention_words is not None:
        click.echo(_retention_line(rules))


def _retention_line(rules: Retention | None) -> str:
    return (
        "retention: off, nothing is removed by itself"
        if rules is None
        else f"retention: {retention_text(rules)}"
    )
