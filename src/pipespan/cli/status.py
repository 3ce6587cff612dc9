"""`pipespan status`: the tree of one experiment, now."""

from __future__ import annotations

import click
from rich.console import Console

from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import LinePrinter, is_ascii_only, open_console, print_json
from pipespan.cli.render.fold import MAX_LINES
from pipespan.cli.render.look import FAINT
from pipespan.cli.render.stacks import render_dump
from pipespan.cli.render.text import moment, one_line, plain
from pipespan.cli.render.tree import render_status
from pipespan.cli.render.workers import render_workers
from pipespan.model.records import EventRecord
from pipespan.query.document import to_json
from pipespan.query.stalls import NEWEST, newest_dump
from pipespan.query.status import status
from pipespan.query.statusdocument import status_document
from pipespan.query.workers import workers_document, workers_of


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
@click.option(
    "--stacks", is_flag=True, help="Show the stacks of the last stall, or of memory that ran short."
)
@click.option(
    "--workers",
    is_flag=True,
    help="Show the processes that share the work instead of the tree, ranks in order.",
)
@json_option
@store_options
@click.pass_context
def command(
    ctx: click.Context, *, experiment: str, depth: int | None, lines: int, stacks: bool, workers: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show the tree of an experiment: status, percent, units, rate, duration, ETA, error counts.

    Workers that are behind the others are named. With --json one object: experiment, nodes, jobs, health, workers,
    stragglers. There `progress_percent` is null for a failed or
    cancelled node without units of its own: its children count as whole however they ended.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        view = status(source, experiment, invocation.now())
        dump = newest_dump(source.events(view.experiment.id, limit=NEWEST)) if stacks else None
    console = open_console()
    if as_json:
        document = status_document(view, depth=depth) | workers_document(view)
        print_json(console, document | {"dump": to_json(dump)} if stacks else document)
        return
    if workers:
        console.print(render_workers(workers_of(view), console.width, is_ascii_only(console)))
        return
    console.print(render_status(view, console.width, is_ascii_only(console), max_lines=lines, depth=depth))
    if stacks:
        _print_dump(console, dump)


def _print_dump(console: Console, dump: EventRecord | None) -> None:
    printer = LinePrinter(console)
    if dump is None:
        printer.print([("no stall was noticed; `pipespan stack` asks where it stands now", FAINT)])
        return
    ascii_only = is_ascii_only(console)
    printer.print(
        [(plain(one_line(f"{moment(dump.timestamp)} {dump.title}"), ascii_only=ascii_only), "yellow")]
    )
    for line in render_dump(dump.details, ascii_only=ascii_only):
        printer.print(line)
