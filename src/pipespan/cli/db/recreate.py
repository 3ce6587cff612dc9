"""`pipespan db recreate`: drop everything and begin anew."""

from __future__ import annotations

import sys

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line
from pipespan.errors import UsageError


@click.command("recreate")
@click.option("--force", "is_forced", is_flag=True, help="Needed: all experiments and their rows are lost.")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask for the database's name.")
@json_option
@store_options
@click.pass_context
def recreate(ctx: click.Context, *, is_forced: bool, is_confirmed: bool, as_json: bool) -> None:
    """Drop all tables, views and functions of pipespan, with all rows, and make them anew.

    Asks for the name of the database. Tables `experiments` and `processing_jobs` that were there before pipespan, or
    that other tables refer to, keep their rows. Views of yours that read pipespan's tables go with them.
    """
    if not is_forced:
        raise UsageError("this deletes every experiment of the database; add --force if that is meant")
    with current(ctx).open_maintenance() as maintenance:
        name = maintenance.database_name()
        if not is_confirmed:
            _confirm(name)
        applied = maintenance.recreate()
    if as_json:
        print_json(open_console(), {"database": name, "applied": list(applied)})
    else:
        click.echo(f"dropped and made anew in {one_line(name)}: {len(applied)} migrations applied")


def _confirm(name: str) -> None:
    click.echo(
        f"All experiments in the database {one_line(name)!r} will be lost. Type its name to go on: ",
        err=True,
        nl=False,
    )
    typed = sys.stdin.readline().strip()
    if typed != name:
        raise UsageError(f"{typed!r} is not the name of the database; nothing was changed")
