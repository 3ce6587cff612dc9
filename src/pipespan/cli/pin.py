"""`pipespan pin` and `pipespan unpin`: what retention leaves alone."""

from __future__ import annotations

import click

from pipespan.cli.options import Invocation, current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line
from pipespan.errors import NotFoundError
from pipespan.query.resolve import resolve


@click.command("pin")
@click.argument("experiment")
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, as_json: bool) -> None:
    """Keep EXPERIMENT with all of its rows, whatever the retention of the database."""
    set_pin(current(ctx), experiment, is_pinned=True, as_json=as_json)


@click.command("unpin")
@click.argument("experiment")
@json_option
@store_options
@click.pass_context
def unpin(ctx: click.Context, *, experiment: str, as_json: bool) -> None:
    """Let retention remove EXPERIMENT again when its time has come."""
    set_pin(current(ctx), experiment, is_pinned=False, as_json=as_json)


def set_pin(invocation: Invocation, reference: str, *, is_pinned: bool, as_json: bool) -> None:
    """Set or take away the mark of the experiment that `reference` means, and tell it.

    Raises:
        NotFoundError: there is no such experiment.
    """
    with invocation.open_source() as source:
        found = resolve(source, reference)
    with invocation.open_maintenance() as maintenance:
        if not maintenance.pin(found.id, is_pinned=is_pinned):
            raise NotFoundError(
                f"the experiment {found.id!r} has just been removed; `pipespan list` shows the rest"
            )
    if as_json:
        print_json(open_console(), {"experiment_id": found.id, "name": found.name, "pinned": is_pinned})
        return
    done = "pinned" if is_pinned else "no longer pinned"
    click.echo(f"{done}: {one_line(found.name)} ({found.id[:8]})")
