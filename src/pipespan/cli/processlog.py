"""Shows what a command of the background says, from its JSON-lines file: no database is needed for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from pipespan.cli.options import Invocation
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line
from pipespan.supervise.logfile import OWN_STREAM, LogLine, LogReader, all_lines
from pipespan.supervise.processes import OPEN_STATES, ProcessEntry
from pipespan.supervise.registry import Registry, registry_of

POLL_S: Final = 0.2

Show = Callable[[LogLine], None]


def show_process_log(
    invocation: Invocation, name: str, *, limit: int, grep: str | None, follow: bool, as_json: bool
) -> int:
    """Print the newest lines of the process `name`, and those to come where that is asked for."""
    registry = registry_of(invocation.settings().state_dir)
    entry, _ = registry.get(name)
    console = open_console()

    def show(line: LogLine) -> None:
        if as_json:
            print_json(console, _document(line))
        else:
            moment = line.time.astimezone().strftime("%H:%M:%S")
            click.echo(f"{moment} {line.attempt} {line.stream:<8} {one_line(line.message)}")

    def is_wanted(line: LogLine) -> bool:
        return grep is None or grep.lower() in line.message.lower()

    if follow:
        follow_lines(invocation, registry, entry, lambda line: show(line) if is_wanted(line) else None, limit)
    else:
        for line in [line for line in all_lines(entry.spec.log) if is_wanted(line)][-limit:]:
            show(line)
    return 0


def follow_lines(
    invocation: Invocation, registry: Registry, entry: ProcessEntry, show: Show, limit: int
) -> ProcessEntry:
    """Show the last `limit` lines and then each new one until the process is over; return its entry then."""
    with contextlib.closing(LogReader(entry.spec.log)) as reader:
        for lines in _pieces(invocation, registry, entry, reader):
            for line in lines[-limit:] if limit else lines:
                show(line)
            limit = 0
    return registry.get(entry.name)[0]


def _pieces(
    invocation: Invocation, registry: Registry, entry: ProcessEntry, reader: LogReader
) -> Iterator[list[LogLine]]:
    yield reader.read_new()
    is_over = False
    while not is_over:
        # First the state, then the file: what was written before the end is shown.
        is_over = registry.get(entry.name)[1].word not in {*OPEN_STATES, "orphaned", "unknown"}
        yield reader.read_new()
        if not is_over:
            invocation.sleep(POLL_S)


def write_like_the_command(line: LogLine) -> None:
    """Print a line where the command printed it; our own words go to stderr."""
    if line.stream == OWN_STREAM:
        click.echo(f"pipespan: {one_line(line.message)}", err=True)
    else:
        click.echo(one_line(line.message), err=line.stream == "stderr")


def _document(line: LogLine) -> dict[str, Any]:
    return {"time": line.time, "stream": line.stream, "attempt": line.attempt, "message": line.message}
