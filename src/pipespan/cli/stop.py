"""`pipespan stop`: end a command that runs in the background."""

from __future__ import annotations

import click

from pipespan.cli.options import current, store_options
from pipespan.record.identity import user_name
from pipespan.supervise.attempts import DEFAULT_STOP_S
from pipespan.supervise.control import stop_process
from pipespan.supervise.registry import StopRequest, registry_of


@click.command("stop")
@click.argument("name")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=DEFAULT_STOP_S, show_default=True,
    metavar="SECONDS", help="How long it may take after SIGTERM before it is killed.",
)  # fmt: skip
@store_options
@click.pass_context
def command(ctx: click.Context, *, name: str, timeout_s: float) -> int:
    """Stop the command NAME and all that it started; its experiment is cancelled then.

    SIGTERM first, and SIGKILL for what is there after the timeout. Returns when nothing of it is left.
    """
    invocation = current(ctx)
    registry = registry_of(invocation.settings().state_dir)
    request = StopRequest(timeout_s, user_name() or "somebody")
    stopped = stop_process(registry, name, request, sleep=invocation.sleep)
    if not stopped.was_running:
        click.echo(f"{name} does not run: {stopped.entry.state}")
        return 0
    click.echo(f"{name}: {stopped.entry.reason or stopped.entry.state}")
    return 0
