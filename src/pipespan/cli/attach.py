"""`pipespan attach`: watch the output of a command that runs in the background."""

from __future__ import annotations

from typing import Final

import click

from pipespan.cli.options import current, store_options
from pipespan.cli.processlog import follow_lines, write_like_the_command
from pipespan.cli.render.text import one_line
from pipespan.supervise.registry import registry_of

DEFAULT_LINES: Final = 10


@click.command("attach")
@click.argument("name")
@click.option(
    "--lines", type=click.IntRange(min=1), default=DEFAULT_LINES, show_default=True, metavar="N",
    help="Begin with the last so many lines.",
)  # fmt: skip
@store_options
@click.pass_context
def command(ctx: click.Context, *, name: str, lines: int) -> int:
    """Show the output of the command NAME as it comes, until it is over.

    Ctrl-C ends the watching and leaves the command running.
    """
    invocation = current(ctx)
    registry = registry_of(invocation.settings().state_dir)
    entry, standing = registry.get(name)
    if standing.word == "orphaned":
        click.echo(f"pipespan: {standing.reason}; its output is read by nobody any more", err=True)
    try:
        last = follow_lines(invocation, registry, entry, write_like_the_command, lines)
    except KeyboardInterrupt:
        click.echo(f"\npipespan: {name} goes on; `pipespan stop {name}` ends it", err=True)
        return 0
    # The last line of the file tells the end, where there was still somebody to write it.
    if last.state == "dead":
        click.echo(f"pipespan: {name} dead: {one_line(last.reason or '')}", err=True)
    return 0
