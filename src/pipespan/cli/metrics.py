"""`pipespan metrics`: what the nodes of an experiment measured, and samples of its processes."""

from __future__ import annotations

import click

from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import LinePrinter, is_ascii_only, open_console
from pipespan.cli.render.figures import render_measures
from pipespan.query.measures import measures, summarize
from pipespan.query.resolve import resolve
from pipespan.store.chronicle import MetricFilter


@click.command("metrics")
@experiment_argument
@click.option("--node", metavar="ID", help="Only of this node and those below it, such as train/fit.")
@click.option("--type", "measure", metavar="NAME", help="Only this measure, such as memory_mb or loss.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Look at the newest so many rows.",
)
@json_option
@store_options
@click.pass_context
def command(
    ctx: click.Context, *, experiment: str, node: str | None, measure: str | None, limit: int, as_json: bool
) -> None:
    """Show each measure of each node of an experiment: count, min, mean, max and the last value.

    With --json the rows themselves in order of time, one object a line.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        found = resolve(source, experiment)
        rows = source.metrics(found.id, limit=limit, wanted=MetricFilter(node_id=node))
    console = open_console()
    if as_json:
        printer = LinePrinter(console)
        for row in rows:
            if measure is None or measure in dict(measures(row)):
                printer.print_json(row)
        printer.flush()
        return
    summary = summarize(rows, measure=measure)
    if not summary:
        click.echo("no metrics")
        return
    console.print(render_measures(summary, console.width, is_ascii_only(console)))
