"""`pipespan ps`: the commands that were put into the background, and how each stands."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

import click
from rich.table import Table

from pipespan.cli.options import current, json_option, store_options
from pipespan.cli.output import open_console, print_json
from pipespan.cli.render.text import one_line, shorten
from pipespan.supervise.processes import OPEN_STATES, ProcessEntry
from pipespan.supervise.registry import registry_of
from pipespan.supervise.standing import Standing

_TITLES: Final = ("NAME", "STATE", "PID", "ATTEMPT", "SINCE", "EXPERIMENT", "COMMAND")

_MIN_COMMAND: Final = 10
"""Where there is too little room it is the command that is cut, down to this."""


@click.command("ps")
@click.option("-a", "--all", "is_all", is_flag=True, help="Also those that have ended.")
@json_option
@store_options
@click.pass_context
def command(ctx: click.Context, *, is_all: bool, as_json: bool) -> int:
    """List the commands that `pipespan run --detach` put into the background.

    States: running, waiting (for its next attempt), stopping, completed, failed, cancelled; orphaned when the
    supervisor is gone and the command runs, dead when both are gone without a word, unknown on another host.
    """
    registry = registry_of(current(ctx).settings().state_dir)
    found = [one for one in registry.all() if is_all or _is_open(one[1])]
    console = open_console()
    if as_json:
        for entry, standing in found:
            print_json(console, _document(entry, standing))
        return 0
    if not found:
        click.echo("nothing runs in the background" + ("" if is_all else "; --all shows what has ended"))
        return 0
    rows = [_row(entry, standing) for entry, standing in found]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in _TITLES:
        table.add_column(title, no_wrap=True)
    *others, _ = zip(_TITLES, *rows, strict=True)
    room = console.width - sum(max(map(len, column)) + 2 for column in others)
    for row in rows:
        table.add_row(*row[:-1], shorten(row[-1], max(room, _MIN_COMMAND)))
    console.print(table)
    for entry, standing in found:
        if standing.reason:
            click.echo(f"{entry.name}: {one_line(standing.reason)}")
    return 0


def _is_open(standing: Standing) -> bool:
    return standing.word in OPEN_STATES or standing.has_child or standing.word == "unknown"


def _row(entry: ProcessEntry, standing: Standing) -> tuple[str, ...]:
    since_ns = entry.ended_at_unix_ns or entry.started_at_unix_ns or entry.created_at_unix_ns
    pid = str(entry.child.pid) if entry.child is not None and standing.has_child else "-"
    since = _moment(since_ns).astimezone().strftime("%m-%d %H:%M:%S")
    attempt = str(entry.attempt or "-")
    return (
        entry.name, standing.word, pid, attempt, since, entry.experiment_id[:8] or "-",
        one_line(" ".join(entry.spec.argv)),
    )  # fmt: skip


def _document(entry: ProcessEntry, standing: Standing) -> dict[str, Any]:
    child, supervisor = entry.child, entry.supervisor
    return {
        "name": entry.name,
        "state": standing.word,
        "reason": standing.reason or None,
        "argv": list(entry.spec.argv),
        "cwd": entry.spec.cwd,
        "experiment_id": entry.experiment_id or None,
        "attempt": entry.attempt,
        "pid": child.pid if child is not None and standing.has_child else None,
        "supervisor_pid": supervisor.pid if supervisor is not None and standing.has_supervisor else None,
        "host": None if supervisor is None else supervisor.host,
        "created_at": _moment(entry.created_at_unix_ns),
        "started_at": _moment_or_none(entry.started_at_unix_ns),
        "next_start_at": _moment_or_none(entry.next_start_at_unix_ns),
        "ended_at": _moment_or_none(entry.ended_at_unix_ns),
        "log": str(entry.spec.log.path),
        "attempts": [
            {
                "attempt": end.attempt,
                "started_at": _moment(end.started_at_unix_ns),
                "ended_at": _moment(end.ended_at_unix_ns),
                "exit_code": end.exit_code,
                "signal": end.signal,
                "outcome": end.outcome,
                "stderr_tail": list(end.stderr_tail),
            }
            for end in entry.ends
        ],
    }


def _moment(unix_ns: int) -> datetime:
    return datetime.fromtimestamp(unix_ns / 1e9, timezone.utc)


def _moment_or_none(unix_ns: int | None) -> datetime | None:
    return None if unix_ns is None else _moment(unix_ns)
