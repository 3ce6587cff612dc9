"""`pipespan import`: an exported experiment into a database."""

from __future__ import annotations

from typing import IO

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line, plural
from pipespan.query.importing import ImportReport, import_document, read_document

_NOUNS = {"jobs": "job", "nodes": "node", "logs": "log record", "events": "event", "metrics": "metric row"}


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, file: IO[str], as_json: bool) -> None:
    """Read what `pipespan export` wrote from FILE (`-` is standard input) into the database: whole, or not at all.

    The same document again changes nothing. With --json one object.
    """
    invocation = current(ctx)
    document = read_document(file)
    with invocation.open_source() as source, invocation.open_import_sink() as sink:
        report = import_document(document, source, sink)
    if as_json:
        print_json(open_console(), report)
        return
    click.echo(one_line(_told(report)))


def _told(report: ImportReport) -> str:
    name = f"{report.name} ({report.experiment_id})"
    if not report.is_new:
        return f"{name} is there already; nothing changed"
    parts = [plural(count, _NOUNS[kind]) for kind, count in report.rows.items() if count]
    return f"imported {name} with {', '.join(parts) or 'no rows'}"
