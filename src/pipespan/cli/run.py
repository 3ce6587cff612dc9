"""`pipespan run`: any command as an experiment, its output as logs, its exit status as the outcome."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pipespan.cli.options import current, store_options
from pipespan.config import load_settings
from pipespan.errors import PipespanError
from pipespan.supervise.attempts import DEFAULT_STOP_S, Keeping, Supervised, run_attempts
from pipespan.supervise.child import NOT_EXECUTABLE, NOT_FOUND
from pipespan.supervise.logfile import DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES
from pipespan.supervise.naming import command_name
from pipespan.supervise.processes import AttemptEnd
from pipespan.supervise.recording import NoRecording, Recording
from pipespan.supervise.restart import DEFAULT_BACKOFF_S, RESTART_MODES, RestartMode, RestartPolicy
from pipespan.supervise.run import Command


def _to_params(ctx: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{one!r} is not KEY=VALUE", ctx, param)
        try:
            params[key] = json.loads(text)
        except ValueError:
            params[key] = text
    return params


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--name", help="Name of the experiment; by default the command's, or the script's that it runs."
)
@click.option(
    "--param", "params", multiple=True, metavar="KEY=VALUE", callback=_to_params,
    help="A parameter of the experiment; numbers and JSON are taken as such. Repeatable.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, help="A word to find the experiment by. Repeatable.")
@click.option("--quiet", is_flag=True, help="Say nothing at the end.")
@click.option(
    "--restart", "mode", type=click.Choice(RESTART_MODES), default="never", show_default=True,
    help="Start the command again when it ends: as another attempt of the same experiment.",
)  # fmt: skip
@click.option(
    "--max-restarts", type=click.IntRange(min=0), metavar="N",
    help="Start it again so often at most; by default only a crash loop ends it.",
)  # fmt: skip
@click.option(
    "--backoff", "backoff_s", type=click.FloatRange(min=0), default=DEFAULT_BACKOFF_S, show_default=True,
    metavar="SECONDS", help="Pause before the first restart; it doubles up to 5 min while attempts stay short.",
)  # fmt: skip
@click.option(
    "--detach", is_flag=True, help="Run it in the background; it survives the terminal and the logout."
)
@click.option(
    "--log-dir", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a detached command's JSON-lines files; by default `logs` in the state folder.",
)  # fmt: skip
@click.option(
    "--log-bytes", type=click.IntRange(min=1024), default=DEFAULT_MAX_BYTES, show_default=True, metavar="N",
    help="Size from which on a new log file is begun.",
)  # fmt: skip
@click.option(
    "--log-files", type=click.IntRange(min=1), default=DEFAULT_MAX_FILES, show_default=True, metavar="N",
    help="How many log files are kept.",
)  # fmt: skip
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARGS]...")
@store_options
@click.pass_context
def command(  # noqa: PLR0913 - one argument for each option
    ctx: click.Context, *, name: str | None, params: Mapping[str, Any], tags: Sequence[str], quiet: bool,
    mode: RestartMode, max_restarts: int | None, backoff_s: float, detach: bool, log_dir: Path | None,
    log_bytes: int, log_files: int, argv: Sequence[str],
) -> int:  # fmt: skip
    """Run a command as an experiment of one pipeline.

    Its lines become logs and still appear here, progress bars as their last state; a Python program that uses
    pipespan joins the experiment. Returns the command's exit code, 128+n when signal n ended it, 127 when there is
    no such command, 126 when it cannot be executed.

    With --detach it goes on in the background, under --name: see `pipespan ps`, `attach`, `stop`, `restart` and
    `logs --process`. An attempt after an attempt, as --restart has it, is one experiment, which is over when there is
    no further one. Five failures in a row within 10 s each are a crash loop and end it, and so does whoever stops it.
    """
    invocation = current(ctx)
    policy = RestartPolicy(mode, max_restarts, backoff_s)
    if detach:
        from pipespan.cli.background import Launch, run_detached  # noqa: PLC0415 - the foreground needs none of it

        launch = Launch(name, argv, params, tags, policy, log_dir, log_bytes, log_files)
        return run_detached(invocation, launch, quiet=quiet)
    wanted = Command(argv, name or command_name(argv), params, tags)
    first_attempt = 1
    try:
        settings = load_settings(dsn=invocation.dsn, state_dir=invocation.state_dir)
        if settings.disabled and mode == "never":
            return _replace_process(argv)
        first_attempt = settings.attempt
        recording: Recording = open_recording(dsn=invocation.dsn, state_dir=invocation.state_dir)
    except PipespanError as error:
        # Whatever is wrong with the record, the command is what was asked for.
        say(f"nothing is recorded; {error}")
        recording = NoRecording()
    watcher = _Told(is_quiet=quiet)
    done = asyncio.run(run_attempts(wanted, recording, Keeping(watcher, policy, first_attempt)))
    _tell_end(done, quiet=quiet)
    return done.ended.return_code


def open_recording(**settings: Any) -> Recording:
    """Return what records in this process; `settings` that are None are not given."""
    from pipespan.wiring.commands import CommandRecording  # noqa: PLC0415 - loads the spool and the telemetry

    return CommandRecording(**settings)


class _Told:
    """Tells on stderr what happens between attempts."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet

    def started(self, attempt: int, pid: int, experiment_id: str) -> None:
        """See `Watcher`, as for the others."""

    def lines(self, attempt: int, stream: str, lines: Sequence[str]) -> None:
        """They have been shown."""

    def ended(self, end: AttemptEnd) -> None:
        """What follows is told then."""

    def waiting(self, attempt: int, delay_s: float, title: str) -> None:
        """Say why nothing happens now."""
        if not self._is_quiet:
            say(title)

    def stop_asked(self) -> tuple[float, str]:
        """Whoever has the terminal."""
        return DEFAULT_STOP_S, "a signal"


def _tell_end(done: Supervised, *, quiet: bool) -> None:
    if done.ended.problem:
        say(done.ended.problem)
    if done.trouble is not None:
        say(f"the record is incomplete; {done.trouble!r}")
    if done.gave_up is not None and not quiet:
        say(f"not started again: {done.gave_up}")
    if not quiet and done.experiment_id:
        short = done.experiment_id[:8]
        say(f"experiment {short} {done.outcome}; see `pipespan status {short}`, `pipespan logs {short}`")


def _replace_process(argv: Sequence[str]) -> int:
    """Become the command; return only if that fails."""
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell is what is wanted
    except FileNotFoundError:
        say(f"command not found: {argv[0]!r}")
        return NOT_FOUND
    except OSError as error:
        say(f"cannot execute {argv[0]!r}: {(error.strerror or type(error).__name__).lower()}")
        return NOT_EXECUTABLE


def say(line: str) -> None:
    """Say something of our own."""
    click.echo(f"pipespan: {line}", err=True)
    sys.stderr.flush()
