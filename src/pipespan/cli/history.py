"""`pipespan history`: how the phases of a pipeline went, run after run."""

from __future__ import annotations

import difflib

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json
from pipespan.cli.render.figures import render_history, render_trends
from pipespan.errors import NotFoundError
from pipespan.query.resolve import LAST, resolve
from pipespan.store.base import Source
from pipespan.store.chronicle import ExperimentFilter

_RECENT = 200
"""Among the names of so many experiments it is looked for what may be meant."""


@click.command("history")
@click.argument("pipeline", default=LAST)
@click.option("--phase", metavar="NAME", help="Only the phase of this name, or the node of this id.")
@click.option(
    "--trends", "wants_trends", is_flag=True, help="Sum up: min, mean, median, p90, max, last values."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="At most so many runs of each phase.",
)
@json_option
@store_options
@click.pass_context
def command(
    ctx: click.Context, *, pipeline: str, phase: str | None, wants_trends: bool, limit: int, as_json: bool
) -> None:
    """Show how long each phase of a pipeline took in each run, newest first, and what it used.

    PIPELINE is the name of experiments; without one it is the name of the newest. With --json one object a line.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        name = _name(source, pipeline)
        trends = source.phase_trends(name, phase, last=limit) if wants_trends else []
        runs = [] if wants_trends else source.phase_history(name, phase, limit=limit)
    console = open_console()
    if as_json:
        for one in (*runs, *trends):
            print_json(console, one)
        return
    if not runs and not trends:
        click.echo(f"no runs of {'any phase' if phase is None else 'such a phase'}")
        return
    is_ascii = is_ascii_only(console)
    if wants_trends:
        console.print(render_trends(trends, console.width, is_ascii))
    else:
        console.print(render_history(runs, invocation.now(), console.width, is_ascii))


def _name(source: Source, typed: str) -> str:
    """Return the name of a pipeline that somebody typed, which may also be a reference to one of its runs."""
    if source.select_experiments(ExperimentFilter(name=typed), limit=1):
        return typed
    try:
        return resolve(source, typed).name
    except NotFoundError:
        if typed == LAST:
            raise
        names = dict.fromkeys(one.name for one in source.experiments(limit=_RECENT))
        near = difflib.get_close_matches(typed, names, n=3)
        hint = (
            f"did you mean {', '.join(map(repr, near))}?"
            if near
            else "`pipespan list` shows those that exist"
        )
        raise NotFoundError(f"no pipeline is called {typed!r}; {hint}") from None
