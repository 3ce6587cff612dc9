"""`pipespan db queries`: useful SQL to begin with."""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.errors import NotFoundError


@click.command("queries")
@click.argument("name", required=False)
@json_option
@store_options
@click.pass_context
def queries(ctx: click.Context, *, name: str | None, as_json: bool) -> None:
    """Print useful queries, each ready for psql, a notebook or Grafana; with NAME only that one.

    What speaks of one experiment takes the newest: put an id of yours in its place. With --json one object a line.
    """
    known = current(ctx).services.useful_queries()
    if name is not None and name not in known:
        raise NotFoundError(f"there is no query {name!r}; known are {', '.join(known)}")
    chosen = {one: text for one, text in known.items() if name in (None, one)}
    if as_json:
        for one, text in chosen.items():
            print_json(open_console(), {"name": one, "about": _about(text), "sql": _statement(text)})
        return
    for place, text in enumerate(chosen.values()):
        if place:
            click.echo()
        click.echo(text.rstrip() + ";")


def _about(text: str) -> str:
    comments = (line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--"))
    return " ".join(" ".join(comments).split()).partition(": ")[2]


def _statement(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
