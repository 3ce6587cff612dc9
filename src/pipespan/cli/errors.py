"""`pipespan errors`: what went wrong, alike errors together."""

from __future__ import annotations

import click

from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import is_ascii_only, open_console, print_json, print_text
from pipespan.cli.render.errors import error_summary, render_error_group
from pipespan.cli.render.text import one_line
from pipespan.query.deaths import ending_lines, endings_of
from pipespan.query.document import to_json
from pipespan.query.resolve import resolve
from pipespan.store.base import ErrorGroup


@click.command("errors")
@experiment_argument
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most kinds to show."
)
@click.option("--traceback", "has_traceback", is_flag=True, help="Show the newest traceback of each kind.")
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, limit: int, has_traceback: bool, as_json: bool) -> None:
    """Show the errors of an experiment, those of one cause together, the most frequent first.

    Errors have one cause when their types and the functions in their tracebacks are the same; without a
    traceback, when their messages are, apart from numbers, ids and quoted text.

    With --json one object a line for each kind, and no summary.
    """
    invocation = current(ctx)
    with invocation.open_source() as source:
        found = resolve(source, experiment)
        groups = source.error_groups(found.id, limit=limit)
        jobs = source.jobs(found.id)
        total = max(found.error_count, sum(source.error_counts(found.id).values()))
    console = open_console()
    if as_json:
        for group in groups:
            print_json(console, _document(group))
        return
    for group in groups:
        rendered = render_error_group(
            group, invocation.now(), console.width, is_ascii_only(console), has_traceback=has_traceback
        )
        print_text(console, rendered)
    attempt = max((job.attempt for job in jobs), default=found.attempt)
    has_failed = found.status in ("failed", "cancelled")
    for line in ending_lines(endings_of(jobs), attempt, has_failed=has_failed):
        click.echo(one_line(f"ended: {line}"))
    click.echo(one_line(error_summary(found, groups, total, limit)))


def _document(group: ErrorGroup) -> dict[str, object]:
    document: dict[str, object] = to_json(group)
    return document | {
        "first_seen": to_json(group.first_seen_log.timestamp),
        "last_seen": to_json(group.last_seen_log.timestamp),
        "traceback": to_json(group.last_seen_log.traceback),
    }
