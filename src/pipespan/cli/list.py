"""`pipespan list`: which experiments there are, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json
from pipespan.cli.render.table import render_experiments
from pipespan.model.health import Health
from pipespan.model.records import ExperimentRecord
from pipespan.model.status import STATUSES
from pipespan.query.document import to_json
from pipespan.query.status import health_of
from pipespan.store.base import Source

_SEARCHED: Final = 5_000
"""How many of the newest experiments are looked through for those of one status."""


@click.command("list")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most experiments to list."
)
@click.option(
    "--status", "wanted", type=click.Choice(STATUSES), help="Only experiments of this recorded status."
)
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, limit: int, wanted: str | None, as_json: bool) -> None:
    """List experiments, newest first: status, health, start, duration, errors.

    With --json one object a line.
    """
    invocation = current(ctx)
    now = invocation.now()
    console = open_console()
    with invocation.open_source() as source:
        listed = [(one, health_of(source, one, now)) for one in _chosen(source, limit, wanted)]
    if as_json:
        for experiment, health in listed:
            print_json(console, _document(experiment, health))
        return
    console.print(render_experiments(listed, now, console.width, is_ascii_only(console)))


def _chosen(source: Source, limit: int, wanted: str | None) -> Iterator[ExperimentRecord]:
    if wanted is None:
        yield from source.experiments(limit=limit)
        return
    matching = (one for one in source.experiments(limit=_SEARCHED) if one.status == wanted)
    yield from (one for one, _ in zip(matching, range(limit), strict=False))


def _document(experiment: ExperimentRecord, health: Health) -> dict[str, object]:
    document: dict[str, object] = to_json(experiment)
    return document | {"health": health.word, "health_detail": to_json(health)}
