"""`pipespan db migrate`: the schema, and the rules of retention."""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.retention import retention_text
from pipespan.errors import UsageError
from pipespan.model.retention import Retention, parse_retention

EXIT_PENDING = 1
"""With `--check`: the schema is not the one of this program."""


@click.command("migrate")
@click.option(
    "--check", "is_check", is_flag=True, help="Change nothing; exit with 1 when something is pending."
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Change nothing; print what would be applied.")
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
def migrate(
    ctx: click.Context, *, is_check: bool, is_dry_run: bool, retention_words: str | None, as_json: bool
) -> int:
    """Create or update the tables; does nothing when they are up to date."""
    rules = None if retention_words is None else parse_retention(retention_words)
    invocation = current(ctx)
    settings = invocation.settings()
    if is_check or is_dry_run:
        if retention_words is not None:
            raise UsageError("--retention changes the database; leave it out with --check and --dry-run")
        names, word = list(invocation.services.waiting_migrations(settings)), "pending"
    else:
        names, word = list(invocation.services.migrate(settings)), "applied"
    document: dict[str, object] = {word: names}
    if retention_words is not None:
        with invocation.open_maintenance() as maintenance:
            maintenance.set_retention(rules)
        document["retention"] = rules
    if as_json:
        print_json(open_console(), document)
    else:
        for name in names:
            click.echo(f"{word} {name}")
        if not names:
            click.echo("the schema is up to date")
        if retention_words is not None:
            click.echo(_retention_line(rules))
    return EXIT_PENDING if is_check and names else 0


def _retention_line(rules: Retention | None) -> str:
    return (
        "retention: off, nothing is removed by itself"
        if rules is None
        else f"retention: {retention_text(rules)}"
    )
