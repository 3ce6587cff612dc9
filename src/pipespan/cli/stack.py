"""`pipespan stack`: where every thread and task of a live experiment stands, now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from pipespan.cli.asking import find_targets, local_option
from pipespan.cli.options import current, experiment_argument, json_option, store_options
from pipespan.cli.output import LinePrinter, is_ascii_only, open_console, print_json
from pipespan.cli.render.look import ERROR, FAINT
from pipespan.cli.render.stacks import render_dump
from pipespan.cli.render.text import one_line

if TYPE_CHECKING:
    from pipespan.wiring.asking import Target

EXIT_SILENT: Final = 1
"""Some process did not answer, or there is none."""


@click.command("stack")
@experiment_argument
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=3.0, show_default=True,
    help="Wait for answers so many seconds.",
)  # fmt: skip
@local_option
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, experiment: str, timeout: float, is_local: bool, as_json: bool) -> int:
    """Show where each thread and each asyncio task of a live experiment stands.

    Its processes are asked through the database, so they may be anywhere; those of this host are asked directly, too.
    They show files, lines and functions, never values. Exits with 1 when a process does not answer.
    """
    invocation = current(ctx)
    targets, use_database = find_targets(invocation, experiment, is_local=is_local)
    if not targets:
        click.echo("no live process works on it any more", err=True)
        return EXIT_SILENT
    from pipespan.wiring.asking import Inquiry  # noqa: PLC0415 - as psycopg

    inquiry = Inquiry(invocation.settings(), targets, "stack", {}, use_database=use_database)
    try:
        inquiry.ask()
        is_complete = inquiry.wait(timeout)
    finally:
        inquiry.close()
    console = open_console()
    if as_json:
        for target in targets:
            print_json(console, {**_head(target), "answer": target.answer or _silence(target)})
    else:
        printer = LinePrinter(console)
        for target in targets:
            _print(printer, target, ascii_only=is_ascii_only(console))
        printer.flush()
    return 0 if is_complete else EXIT_SILENT


def _head(target: Target) -> dict[str, Any]:
    return {
        "experiment_id": target.experiment_id,
        "name": target.name,
        "job_id": target.job_id,
        "host": target.host,
        "pid": target.pid,
        "has_answered": target.answer is not None,
    }


def _print(printer: LinePrinter, target: Target, *, ascii_only: bool) -> None:
    name = one_line(f"process {target.pid} on {target.host}, at work on {target.name}")
    printer.print([(name, "bold cyan")])
    answer = target.answer
    if answer is None:
        answer = _silence(target)
        printer.print([(one_line(str(answer.get("reason"))), ERROR)])
    for line in render_dump(answer, ascii_only=ascii_only):
        printer.print(line)
    if answer.get("own_threads_left_out"):
        printer.print([("  (pipespan's own threads are left out)", FAINT)])


def _silence(target: Target) -> Mapping[str, Any]:
    """Return what is known of a process that does not answer."""
    stacks = target.held_stacks()
    if stacks is not None:
        reason = "it cannot answer: code that lets no other thread run holds the interpreter, for long"
        return {"reason": reason, "stacks": stacks}
    if target.is_gone():
        return {"reason": "it does not exist any more"}
    if target.is_running():
        return {
            "reason": "no answer, although the process exists; it may be stopped, or its interpreter held"
        }
    return {"reason": "no answer"}
