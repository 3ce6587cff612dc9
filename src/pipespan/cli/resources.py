"""`pipespan resources`: memory, CPU and disk of an experiment's processes over time."""

from __future__ import annotations

import click

from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json
from pipespan.cli.render.figures import render_timeline
from pipespan.query.resolve import resolve


@click.command("resources")
@experiment_argument
@click.option(
    "--points",
    type=click.IntRange(min=1, max=100_000),
    default=20,
    show_default=True,
    help="In so many stretches of time.",
)
@click.option(
    "--node", metavar="ID", help="Only while this node or one below it was open, such as train/fit."
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, points: int, node: str | None, as_json: bool) -> None:
    """Show what the processes of an experiment used: most memory, mean CPU (100 % is one core), disk, units a second.

    With --json one object a line.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        timeline = source.resource_timeline(resolve(source, experiment).id, points=points, node_id=node)
    console = open_console()
    if as_json:
        for point in timeline:
            print_json(console, point)
        return
    if not timeline:
        click.echo("no samples")
        return
    console.print(render_timeline(timeline, console.width, is_ascii_only(console)))
