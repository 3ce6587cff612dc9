"""One log record as lines."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from rich.text import Text

from pipespan.cli.render.look import FAINT, LEVEL_STYLES
from pipespan.cli.render.text import lines_of, moment, one_line, plain
from pipespan.model.records import LogRecord

_INDENT: Final = "    "


def render_log(
    record: LogRecord,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
    *,
    has_traceback: bool,
    zone: tzinfo | None = None,
) -> Text:
    """Return time, level, node and message; further lines of the message and the traceback are indented below."""
    first, *rest = lines_of(record.message)
    style = LEVEL_STYLES[record.level]
    text = Text(no_wrap=True, overflow="ignore")
    text.append(moment(record.timestamp, zone, has_ms=True), style=FAINT)
    text.append(f" {record.level:8} ", style=style)
    text.append(plain(one_line(record.node_id or record.logger_name), ascii_only=ascii_only), style=FAINT)
    text.append(": ", style=FAINT)
    text.append(plain(first, ascii_only=ascii_only), style=style if record.level != "DEBUG" else FAINT)
    if record.traceback and not has_traceback:
        text.append("  [--traceback shows more]", style=FAINT)
    for line in rest:
        text.append(f"\n{_INDENT}{plain(line, ascii_only=ascii_only)}")
    if has_traceback and record.traceback:
        text.append_text(render_traceback(record.traceback, ascii_only=ascii_only))
    return text


def render_traceback(traceback: str, *, ascii_only: bool) -> Text:
    """Return a traceback as indented lines, each begun by a newline."""
    text = Text()
    for line in lines_of(traceback.rstrip()):
        text.append(f"\n{_INDENT}{plain(line, ascii_only=ascii_only)}".rstrip(" "), style=FAINT)
    return text
