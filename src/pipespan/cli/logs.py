"""`pipespan logs`: show, filter and follow the log records of one experiment."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pipespan.cli.options import Invocation, current, experiment_argument, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json, print_text
from pipespan.cli.render.logs import render_log
from pipespan.cli.render.text import one_line
from pipespan.errors import StoreUnavailableError
from pipespan.model.records import LogRecord
from pipespan.model.status import LOG_LEVELS, TERMINAL_STATUSES, LogLevel
from pipespan.query.follow import Following, follow_logs
from pipespan.query.resolve import by_id, resolve
from pipespan.store.base import LogFilter, Source


@click.command("logs")
@experiment_argument
@click.option(
    "--level",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    help="Only this level and more severe ones.",
)
@click.option(
    "--grep", metavar="TEXT", help="Only with this text in message or traceback, in any case of letters."
)
@click.option("--node", metavar="ID", help="Only of this node and those below it, such as train/load.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many records."
)
@click.option("--traceback", "has_traceback", is_flag=True, help="Show tracebacks whole.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new records until the experiment ends.")
@json_option
@store_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument for each option
    ctx: click.Context,
    *,
    experiment: str,
    level: LogLevel | None,
    grep: str | None,
    node: str | None,
    limit: int,
    has_traceback: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the newest log records of an experiment in order of time.

    With --json one object a line.
    """
    invocation = current(ctx)
    console = open_console()
    wanted = LogFilter(level=level, contains=grep, node_id=node, limit=limit)
    with invocation.open_source() as source:
        experiment_id = resolve(source, experiment).id
        if follow:
            records = _followed(invocation, source, experiment_id, wanted)
        else:
            records = iter(source.logs(experiment_id, wanted))
        for record in records:
            if as_json:
                print_json(console, record)
            else:
                print_text(console, render_log(record, is_ascii_only(console), has_traceback=has_traceback))


def _followed(
    invocation: Invocation, source: Source, experiment_id: str, wanted: LogFilter
) -> Iterator[LogRecord]:
    def tell(error: StoreUnavailableError) -> None:
        click.echo(f"pipespan: {one_line(str(error))}; trying again", err=True)

    following = Following(
        is_over=lambda: by_id(source, experiment_id).status in TERMINAL_STATUSES,
        on_outage=tell,
        sleep=invocation.sleep,
        clock=invocation.clock,
    )
    return follow_logs(source, experiment_id, wanted, following)
