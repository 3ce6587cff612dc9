"""`pipespan logs`: show, filter and follow the log records of one experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from pipespan.cli.options import Invocation, current, experiment_argument, json_option, store_options
from pipespan.cli.output import LinePrinter, is_ascii_only, open_console
from pipespan.cli.render.logs import render_log
from pipespan.cli.render.text import one_line
from pipespan.errors import StoreUnavailableError
from pipespan.model.status import LOG_LEVELS, LogLevel
from pipespan.query.ending import EndWatch
from pipespan.query.follow import Following, follow_logs
from pipespan.query.resolve import resolve
from pipespan.store.base import LogFilter

EXIT_DEAD: Final = 1


_ALIASES: Final[Mapping[str, LogLevel]] = {"fatal": "CRITICAL", "err": "ERROR", "trace": "DEBUG"}


class _LevelChoice(click.Choice[LogLevel]):
    """Takes a level by its beginning, or by a name that it has elsewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> LogLevel:
        typed = str(value).strip()
        meant = [level for level in LOG_LEVELS if typed and level.startswith(typed.upper())]
        known = _ALIASES.get(typed.lower(), meant[0] if len(meant) == 1 else value)
        return super().convert(known, param, ctx)


@click.command("logs")
@experiment_argument
@click.option(
    "--level",
    type=_LevelChoice(LOG_LEVELS, case_sensitive=False),
    help="Only this level and more severe ones; its beginning is enough.",
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
@click.option(
    "--process", metavar="NAME",
    help="Instead of an experiment: the output of a command in the background, from its file.",
)  # fmt: skip
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
    process: str | None,
    as_json: bool,
) -> int:
    """Show the newest log records of an experiment in order of time.

    With --json one object a line. The exit code is 1 when an experiment that is followed is dead. --process needs no
    database; --limit, --grep, --follow and --json go with it.
    """
    invocation = current(ctx)
    if process is not None:
        from pipespan.cli.processlog import show_process_log  # noqa: PLC0415 - the database needs none of it

        return show_process_log(invocation, process, limit=limit, grep=grep, follow=follow, as_json=as_json)
    console = open_console()
    printer, is_ascii = LinePrinter(console), is_ascii_only(console)
    wanted = LogFilter(level=level, contains=grep, node_id=node, limit=limit)
    with invocation.open_source() as source:
        experiment_id = resolve(source, experiment).id
        ending = EndWatch(source, experiment_id, now=invocation.now, clock=invocation.clock)
        if follow:
            records = follow_logs(source, experiment_id, wanted, _following(invocation, ending, printer))
        else:
            records = iter(source.logs(experiment_id, wanted))
        for record in records:
            if as_json:
                printer.print_json(record)
            else:
                printer.print(render_log(record, is_ascii, has_traceback=has_traceback))
        printer.flush()
    if ending.death is None:
        return 0
    click.echo(f"dead: {one_line(ending.death)}", err=True)
    return EXIT_DEAD


def _following(invocation: Invocation, ending: EndWatch, printer: LinePrinter) -> Following:
    def tell(error: StoreUnavailableError) -> None:
        click.echo(f"pipespan: {one_line(str(error))}; trying again", err=True)

    def sleep(seconds: float) -> None:
        printer.flush()
        invocation.sleep(seconds)

    return Following(is_over=ending.is_over, on_outage=tell, sleep=sleep, clock=invocation.clock)
