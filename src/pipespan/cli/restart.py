"""`pipespan restart`: start a command of the background again, now or after its end."""

from __future__ import annotations

import uuid
from dataclasses import replace

import click

from pipespan.cli.background import start
from pipespan.cli.options import current, store_options
from pipespan.record.identity import user_name
from pipespan.supervise.attempts import DEFAULT_STOP_S
from pipespan.supervise.control import stop_process
from pipespan.supervise.registry import StopRequest, registry_of
from pipespan.supervise.standing import now_unix_ns


@click.command("restart")
@click.argument("name")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=DEFAULT_STOP_S, show_default=True,
    metavar="SECONDS", help="How long it may take to stop, where it runs, before it is killed.",
)  # fmt: skip
@store_options
@click.pass_context
def command(ctx: click.Context, *, name: str, timeout_s: float) -> int:
    """Stop the command NAME if it runs, and start it again: as another attempt of the same experiment.

    The command, its folder and its options are those it was started with; the environment is the present one.
    """
    invocation = current(ctx)
    settings = invocation.settings()
    registry = registry_of(settings.state_dir)
    request = StopRequest(timeout_s, user_name() or "somebody")
    entry = stop_process(registry, name, request, sleep=invocation.sleep).entry
    renewed = replace(
        entry, token=uuid.uuid4().hex, state="starting", created_at_unix_ns=now_unix_ns(), reason=None,
        supervisor=None, child=None, started_at_unix_ns=None, next_start_at_unix_ns=None, ended_at_unix_ns=None,
    )  # fmt: skip
    return start(registry, renewed, settings, quiet=False)
