"""`pipespan db sample`: an experiment to look at, before there is one."""

from __future__ import annotations

import time
import uuid

import click

from pipespan.cli.db.sampledata import sample_rows
from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line, plural
from pipespan.errors import UsageError

MAX_NAME = 200
"""Longer names would be cut in the ids of nodes."""


@click.command("sample")
@click.argument("experiment")
@json_option
@store_options
@click.pass_context
def sample(ctx: click.Context, *, experiment: str, as_json: bool) -> None:
    """Write an experiment of sample data, named EXPERIMENT: a finished run with a tree, logs, errors, metrics.

    It is one more experiment at each call, told from real ones by its tag `sample`.
    """
    name = experiment.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(
            f"{experiment!r} is no name for an experiment; give 1 to {MAX_NAME} printable characters"
        )
    invocation = current(ctx)
    experiment_id = str(uuid.uuid4())
    count = invocation.services.ship_rows(
        invocation.settings(), sample_rows(experiment_id, name, time.time_ns())
    )
    if as_json:
        print_json(open_console(), {"experiment_id": experiment_id, "name": name, "rows": count})
        return
    click.echo(f"wrote {plural(count, 'row')} as experiment {experiment_id}")
    click.echo(f"`pipespan status {experiment_id[:8]}` shows it: {one_line(name)}")
