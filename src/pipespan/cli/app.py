"""The `pipespan` command: which subcommands there are, and how errors become a line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from pipespan._version import __version__
from pipespan.cli.options import Invocation, store_options
from pipespan.errors import AmbiguousError, NotFoundError, PipespanError, SettingsError, UsageError

EXIT_FAILURE: Final = 1
"""The store, or what was asked for, failed."""

EXIT_USAGE: Final = 2
"""What was typed cannot be meant: unknown or ambiguous names, wrong options or settings."""

EXIT_INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT, as shells have it."""

_USAGE_ERRORS: Final = (NotFoundError, AmbiguousError, UsageError, SettingsError)


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a subcommand is, and what the overview says of it; its module has it as `command`."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, LazyCommand]] = {
    "demo": LazyCommand("pipespan.cli.demo", "Run a real pipeline over the Python sources of this machine."),
    "run": LazyCommand("pipespan.cli.run", "Run any command as an experiment."),
    "ps": LazyCommand("pipespan.cli.ps", "List the commands in the background."),
    "attach": LazyCommand("pipespan.cli.attach", "Watch the output of a command in the background."),
    "stop": LazyCommand("pipespan.cli.stop", "Stop a command in the background."),
    "restart": LazyCommand("pipespan.cli.restart", "Start a command in the background again."),
    "list": LazyCommand("pipespan.cli.list", "List experiments, newest first."),
    "status": LazyCommand("pipespan.cli.status", "Show the tree of an experiment: progress, ETA, errors."),
    "watch": LazyCommand("pipespan.cli.watch", "Show the tree live until the experiment ends."),
    "logs": LazyCommand("pipespan.cli.logs", "Show, filter and follow log records."),
    "errors": LazyCommand("pipespan.cli.errors", "Show the errors of an experiment, grouped."),
    "serve": LazyCommand("pipespan.cli.serve", "Receive OTLP from other programs and collectors."),
    "history": LazyCommand("pipespan.cli.history", "Show how the phases of a pipeline went, run after run."),
    "metrics": LazyCommand("pipespan.cli.metrics", "Show what the nodes of an experiment measured."),
    "resources": LazyCommand("pipespan.cli.resources", "Show memory, CPU and disk over time."),
    "export": LazyCommand("pipespan.cli.export", "Write an experiment as one JSON document."),
    "import": LazyCommand("pipespan.cli.importing", "Read an exported experiment into the database."),
    "stack": LazyCommand(
        "pipespan.cli.stack", "Show where each thread and task of a live experiment stands."
    ),
    "cancel": LazyCommand("pipespan.cli.cancel", "Ask an experiment to stop."),
    "ship": LazyCommand("pipespan.cli.ship", "Deliver what waits in the spool."),
    "redact-test": LazyCommand("pipespan.cli.redact_test", "Show what would be hidden in a text, by rule."),
    "pin": LazyCommand("pipespan.cli.pin", "Keep an experiment whatever the retention."),
    "unpin": LazyCommand("pipespan.cli.unpin", "Let retention remove an experiment again."),
    "db": LazyCommand("pipespan.cli.db", "Manage the database: migrate, doctor, prune, queries, stop."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it is called, and lists them without any import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand, None for an unknown name."""
        known = COMMANDS.get(cmd_name)
        if known is None:
            return None
        command: Any = importlib.import_module(known.module).command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand that is called; for an unknown one suggest what may be meant.

        Raises:
            click.UsageError: there is none of this name.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{_suggestion(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in COMMANDS.items()])


def _suggestion(typed: str) -> str:
    import difflib  # noqa: PLC0415 - only for typos

    near = difflib.get_close_matches(typed.lower(), COMMANDS, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


@click.group(cls=LazyGroup, name="pipespan", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pipespan", message="%(prog)s %(version)s")
@store_options
def cli() -> None:
    """Long-running pipelines, live in Postgres: is it alive, how far is it, what went wrong?

    EXPERIMENT is a name, an id, the start of an id, or `last`, which is the default.
    """


def main(args: Sequence[str] | None = None, invocation: Invocation | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: instead of those of the process.
        invocation: what commands work with, instead of the wired store.
    """
    _never_fail_to_print()
    try:
        code = _invoke(args, invocation)
        sys.stdout.flush()
    except _USAGE_ERRORS as error:
        return _complain(error, EXIT_USAGE)
    except PipespanError as error:
        return _complain(error, EXIT_FAILURE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_FAILURE
    return code


def _invoke(args: Sequence[str] | None, invocation: Invocation | None) -> int:
    result = cli.main(
        args=None if args is None else list(args), prog_name="pipespan", standalone_mode=False, obj=invocation
    )
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _complain(error: PipespanError, code: int) -> int:
    """Tell an error in one line, whatever the database or a name put into its text."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(error)).split())
    with contextlib.suppress(OSError):
        click.echo(f"pipespan: {line}", err=True)
    return code


def _never_fail_to_print() -> None:
    """Let characters that the terminal's encoding lacks come out as escapes."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Keep the interpreter from complaining at exit that nobody reads any more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
