"""`pipespan status`: the tree of one experiment, now."""

from __future__ import annotations

import click

from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json
from pipespan.cli.render.fold import MAX_LINES
from pipespan.cli.render.tree import render_status
from pipespan.query.status import status, status_document


@click.command("status")
@experiment_argument
@click.option("--depth", type=click.IntRange(min=1), help="Show no nodes deeper than this; the root is 1.")
@click.option(
    "--lines",
    type=click.IntRange(min=3),
    default=MAX_LINES,
    show_default=True,
    help="Fold a tree of more lines.",
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, depth: int | None, lines: int, as_json: bool) -> None:
    """Show the tree of an experiment: status, percent, units, rate, duration, ETA, error counts.

    With --json one object: experiment, nodes, jobs, health. There `progress_percent` is null for a failed or
    cancelled node without units of its own: its children count as whole however they ended.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        view = status(source, experiment, invocation.now())
    console = open_console()
    if as_json:
        print_json(console, status_document(view, depth=depth))
        return
    console.print(render_status(view, console.width, is_ascii_only(console), max_lines=lines, depth=depth))
