"""Errors that are alike, as one paragraph each, and the sum of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from rich.text import Text

from pipespan.cli.render.logs import render_traceback
from pipespan.cli.render.look import ERROR, FAINT, look_for
from pipespan.cli.render.text import duration, lines_of, moment, number, plural
from pipespan.model.records import ExperimentRecord
from pipespan.store.base import ErrorGroup

_MESSAGE_LINES: Final = 4
"""A message is told whole unless it takes more lines: its end is often the file or value that matters."""


def render_error_group(
    group: ErrorGroup,
    now: datetime,
    width: int,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
    *,
    has_traceback: bool,
    zone: tzinfo | None = None,
) -> Text:
    """Return count, type, stage, message and when it was seen last; with `has_traceback` the newest traceback."""
    look = look_for(ascii_only=ascii_only)
    last = group.last_seen_log
    times = "x" if ascii_only else "×"
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{number(group.count):>6} {times} ", style="bold")
    text.append(
        look.short(look.safe(group.error_type or last.level), max(8, width // 2)), style=f"bold {ERROR}"
    )
    if group.stage:
        text.append(look.short(f"  in {look.safe(group.stage)}", max(8, width - len(text) - 1)))
    text.append("\n")
    message = look.safe(lines_of(group.message)[0]) or "(no message)"
    for line in textwrap.wrap(
        message, max(8, width - 9), max_lines=_MESSAGE_LINES, placeholder=f" {look.more}"
    ):
        text.append(f"         {look.short(line, max(8, width - 9))}\n")
    reason = _reason(group)
    if reason is not None:
        text.append(f"         {look.short(look.safe(reason), max(8, width - 9))}\n")
    ago = duration((now - last.timestamp).total_seconds())
    seen = f"last {moment(last.timestamp, zone)}, {ago} ago, node {look.safe(last.node_id or '-')}"
    text.append(f"         {look.short(seen, max(8, width - 9))}", style=FAINT)
    if has_traceback and last.traceback:
        text.append_text(render_traceback(last.traceback, ascii_only=ascii_only))
    return text


def _reason(group: ErrorGroup) -> str | None:
    """Return the line of the newest traceback that names the exception, unless the message says that already."""
    traceback = group.last_seen_log.traceback or group.first_seen_log.traceback
    lines = [line for line in lines_of((traceback or "").rstrip()) if line.strip()]
    if not lines:
        return None
    kind = (group.error_type or "").rpartition(".")[2]
    # Below the exception's own line there may be further lines of its text, and notes.
    named = [line for line in lines if line[0] != " " and line.partition(":")[0].rpartition(".")[2] == kind]
    line = (named or lines)[-1].strip()
    why = line.partition(": ")[2] or line
    return None if why in group.message or why == group.error_type else line


def error_summary(experiment: ExperimentRecord, groups: Sequence[ErrorGroup], total: int, limit: int) -> str:
    """Return one line that says how many errors there are, and of how many kinds."""
    if not groups:
        return f"no errors in {experiment.name!r} ({experiment.id[:8]})"
    told = sum(group.count for group in groups)
    total = max(total, told)
    kinds = plural(len(groups), "kind")
    if len(groups) >= limit and told < total:
        return f"{plural(total, 'error')}; {number(told)} of {kinds} above, --limit shows more"
    return f"{plural(total, 'error')} of {kinds}"
