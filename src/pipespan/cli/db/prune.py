"""`pipespan db prune`: let old rows go now."""

from __future__ import annotations

from datetime import timedelta

import click

from pipespan.cli.options import Invocation, current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.retention import prune_lines, prune_warnings
from pipespan.errors import UsageError
from pipespan.model.retention import GIGABYTE, parse_age
from pipespan.store.maintenance import Maintenance, PruneReport, PruneRules

EXIT_BUSY = 1
"""Something was in use and is left."""


@click.command("prune")
@click.option(
    "--older-than", "older_than", metavar="AGE", help="What is older goes, errors too: 12h, 30d, 4w, 1y."
)
@click.option(
    "--keep-gb",
    type=click.FloatRange(min=0),
    metavar="GB",
    help="The oldest days go until no more is left than this; today's stay.",
)
@click.option(
    "--keep-runs",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of each pipeline the newest N runs stay, and those that may still run.",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only tell what would go.")
@json_option
@store_options
@click.pass_context
def prune(
    ctx: click.Context,
    *,
    older_than: str | None,
    keep_gb: float | None,
    keep_runs: int | None,
    is_dry_run: bool,
    as_json: bool,
) -> int:
    """Remove old rows; without a rule among the options, by those that are set for the database.

    With several rules goes what any of them lets go. Pinned experiments stay whole. Logs, events and metrics go by
    whole days (UTC). Writers and readers go on meanwhile.
    """
    invocation = current(ctx)
    age = None if older_than is None else parse_age(older_than)
    with invocation.open_maintenance() as maintenance:
        if age is None and keep_gb is None and keep_runs is None:
            rules = _rules_in_force(maintenance, invocation)
        else:
            before = None if age is None else invocation.now() - age
            max_bytes = None if keep_gb is None else round(keep_gb * GIGABYTE)
            rules = PruneRules(before, before, max_bytes, keep_runs)
        report = maintenance.prune(rules, is_dry_run=is_dry_run)
    _print(report, as_json=as_json)
    return EXIT_BUSY if report.busy else 0


def _rules_in_force(maintenance: Maintenance, invocation: Invocation) -> PruneRules:
    rules = maintenance.retention()
    if rules is None:
        raise UsageError(
            "no retention is set for this database; give --older-than, --keep-gb or --keep-runs, or set it by"
            " `pipespan db migrate --retention on`"
        )
    now = invocation.now()
    return PruneRules(
        None if rules.mild_days is None else now - timedelta(days=rules.mild_days),
        None if rules.rest_days is None else now - timedelta(days=rules.rest_days),
        rules.max_bytes,
    )


def _print(report: PruneReport, *, as_json: bool) -> None:
    if as_json:
        print_json(open_console(), report)
        return
    for line in prune_lines(report):
        click.echo(line)
    for line in prune_warnings(report):
        click.echo(line, err=True)
