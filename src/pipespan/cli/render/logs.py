"""One log record as lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from rich.text import Text

from pipespan.cli.render.look import FAINT, LEVEL_STYLES
from pipespan.cli.render.text import lines_of, moment, one_line, plain
from pipespan.model.records import LogRecord

_INDENT: Final = "    "


Span = tuple[str, str]
"""A text and its style."""


def render_log(
    record: LogRecord,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
    *,
    has_traceback: bool,
    zone: tzinfo | None = None,
) -> Iterator[Span]:
    """Yield time, level, node and message; further lines of the message and the traceback are indented below."""
    first, *rest = lines_of(record.message)
    style = LEVEL_STYLES[record.level]
    yield moment(record.timestamp, zone, has_ms=True), FAINT
    yield f" {record.level:8} ", style
    yield f"{plain(one_line(record.node_id or record.logger_name), ascii_only=ascii_only)}: ", FAINT
    yield plain(first, ascii_only=ascii_only), style if record.level != "DEBUG" else FAINT
    if record.traceback and not has_traceback:
        yield "  [--traceback shows more]", FAINT
    for line in rest:
        yield f"\n{_INDENT}{plain(line, ascii_only=ascii_only)}", ""
    if has_traceback and record.traceback:
        for line in _traceback_lines(record.traceback, ascii_only=ascii_only):
            yield line, FAINT


def render_traceback(traceback: str, *, ascii_only: bool) -> Text:
    """Return a traceback as indented lines, each begun by a newline."""
    return Text("".join(_traceback_lines(traceback, ascii_only=ascii_only)), style=FAINT)


def _traceback_lines(traceback: str, *, ascii_only: bool) -> Iterator[str]:
    for line in lines_of(traceback.rstrip()):
        yield f"\n{_INDENT}{plain(line, ascii_only=ascii_only)}".rstrip(" ")
