"""`pipespan run`: any command as an experiment, its output as logs, its exit status as the outcome."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pipespan.cli.options import current, store_options
from pipespan.config import load_settings, process_environment
from pipespan.errors import PipespanError
from pipespan.record.null import NULL_SCOPE
from pipespan.supervise.child import NOT_EXECUTABLE, NOT_FOUND
from pipespan.supervise.lines import LineRows
from pipespan.supervise.naming import command_name
from pipespan.supervise.outcome import describe
from pipespan.supervise.run import Command, Recording, RunScope, new_record, run_command


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
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARGS]...")
@store_options
@click.pass_context
def command(
    ctx: click.Context, *, name: str | None, params: Mapping[str, Any], tags: Sequence[str], quiet: bool,
    argv: Sequence[str],
) -> int:  # fmt: skip
    """Run a command as an experiment of one pipeline.

    Its lines become logs and still appear here, progress bars as their last state; a Python program that uses
    pipespan joins the experiment. Returns the command's exit code, 128+n when signal n ended it, 127 when there is
    no such command, 126 when it cannot be executed.
    """
    invocation = current(ctx)
    wanted = Command(argv, name or command_name(argv), params, tags)
    try:
        if load_settings(dsn=invocation.dsn, state_dir=invocation.state_dir).disabled:
            return _replace_process(argv)
        recording: Recording = _ApiRecording(dsn=invocation.dsn, state_dir=invocation.state_dir)
    except PipespanError as error:
        # Whatever is wrong with the record, the command is what was asked for.
        _say(f"nothing is recorded; {error}")
        recording = _NoRecording()
    done = asyncio.run(run_command(wanted, recording))
    if done.ended.problem:
        _say(done.ended.problem)
    if done.trouble is not None:
        _say(f"the record is incomplete; {done.trouble!r}")
    if not quiet and done.experiment_id:
        short = done.experiment_id[:8]
        _say(
            f"experiment {short} {describe(done.ended)}; see `pipespan status {short}`, `pipespan logs {short}`"
        )
    return done.ended.return_code


class _ApiRecording:
    """Records by the public API of this process."""

    def __init__(self, **settings: Any) -> None:
        from pipespan.wiring import api  # noqa: PLC0415 - loads the spool and the telemetry

        given = {name: value for name, value in settings.items() if value is not None}
        if given:
            api.configure(**given)
        self._api = api
        self._rows: LineRows | None = None

    def pipeline(self, name: str, *, params: Mapping[str, Any], tags: Sequence[str]) -> RunScope:
        scope: RunScope = self._api.pipeline(name, params=params, tags=tags)
        return scope

    def child_env(self) -> dict[str, str]:
        return self._api.child_env()

    def log(self, record: logging.LogRecord) -> None:
        self._api.record_log(record)

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        if self._rows is None:
            self._rows = self._line_rows()
        if self._rows is not None:
            self._rows.write(stream, lines)
            return
        for line in lines:
            self._api.record_log(new_record(stream, logging.INFO, line))

    def _line_rows(self) -> LineRows | None:
        """Return what writes many lines fast; None when they go to an exporter too, which wants each by itself."""
        runtime = self._api.PROCESS.runtime_in_use()
        node = self._api.current()
        if runtime is None or runtime.telemetry is None or not node.experiment_id:
            return None
        if runtime.telemetry.providers.logger is not None:
            return None
        return LineRows(node, runtime.recorder, runtime.recorder.sink, runtime.redactor.text)


class _NoRecording:
    """Records nothing."""

    def pipeline(self, name: str, *, params: Mapping[str, Any], tags: Sequence[str]) -> RunScope:
        return NULL_SCOPE

    def child_env(self) -> dict[str, str]:
        return process_environment()

    def log(self, record: logging.LogRecord) -> None:
        pass

    def lines(self, stream: str, lines: Sequence[str]) -> None:
        pass


def _replace_process(argv: Sequence[str]) -> int:
    """Become the command; return only if that fails."""
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell is what is wanted
    except FileNotFoundError:
        _say(f"command not found: {argv[0]!r}")
        return NOT_FOUND
    except OSError as error:
        _say(f"cannot execute {argv[0]!r}: {(error.strerror or type(error).__name__).lower()}")
        return NOT_EXECUTABLE


def _say(line: str) -> None:
    click.echo(f"pipespan: {line}", err=True)
    sys.stderr.flush()
