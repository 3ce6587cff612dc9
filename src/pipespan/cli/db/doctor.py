"""`pipespan db doctor`: is the database well?"""

from __future__ import annotations

import click

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json, print_text
from pipespan.cli.render.retention import inspection_lines
from pipespan.query.doctor import diagnose, is_healthy

EXIT_UNHEALTHY = 1
"""Something needs mending."""


@click.command("doctor")
@json_option
@store_options
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> int:
    """Look at schema, sizes, partitions, dead rows, indexes, retention, and how long queries take.

    Exits with 0 when nothing needs mending, else with 1; notes alone are no fault. Changes nothing.
    """
    with current(ctx).open_maintenance() as maintenance:
        found = maintenance.inspect()
    findings = diagnose(found)
    healthy = is_healthy(findings)
    console = open_console()
    if as_json:
        print_json(console, {"healthy": healthy, "findings": findings, "inspection": found})
    else:
        for line in inspection_lines(found, findings, console.width):
            print_text(console, line)
    return 0 if healthy else EXIT_UNHEALTHY
