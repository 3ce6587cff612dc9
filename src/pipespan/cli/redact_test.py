"""`pipespan redact-test`: what would be hidden in a text, by rule, without showing it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from pipespan.cli.options import current, store_options
from pipespan.cli.render.text import one_line, plural
from pipespan.errors import UsageError
from pipespan.model.redact import Redactor

MAX_BYTES = 64 << 20
"""A larger file is refused: this looks at samples of logs, not at archives."""


@click.command("redact-test")
@click.argument("file", default="-")
@click.option("--summary", "is_summary", is_flag=True, help="Show the counts only, not the text.")
@store_options
@click.pass_context
def command(ctx: click.Context, file: str, *, is_summary: bool) -> None:
    """Show what would be hidden in a text, by rule, without showing it.

    FILE is a sample of logs, - or nothing for the standard input. The text is printed as it would be recorded, then
    how often each rule found something and in which lines.
    """
    from pipespan.wiring.redaction import build_redactor  # noqa: PLC0415 - help needs none

    redactor = build_redactor(current(ctx).settings())
    lines: dict[str, list[int]] = {}
    for number, line in _texts(file):
        if not is_summary:
            for shown in redactor.text(line).split("\n"):
                click.echo(one_line(shown.removesuffix("\r")))
        for rule, count in _rules(redactor, line).items():
            lines.setdefault(rule, []).extend([number] * count)
    if not redactor.is_on:
        click.echo("redaction is off: nothing is hidden", err=True)
        return
    click.echo(plural(sum(map(len, lines.values())), "secret") + " hidden", err=True)
    for rule, numbers in sorted(lines.items(), key=lambda item: (-len(item[1]), item[0])):
        shown_lines = ", ".join(str(number) for number in list(dict.fromkeys(numbers))[:_MAX_LINES])
        more = ", ..." if len(set(numbers)) > _MAX_LINES else ""
        click.echo(f"  {len(numbers):>4}  {one_line(rule)}  (line {shown_lines}{more})", err=True)


_MAX_LINES = 10


def _rules(redactor: Redactor, text: str) -> Counter[str]:
    if redactor.look(text) is None:
        return Counter()
    return Counter(rule for _, _, rule in redactor.spans(text))


def _texts(file: str) -> list[tuple[int, str]]:
    """Return what is recorded as one text each, with the number of its first line: lines, and private keys whole."""
    found: list[tuple[int, str]] = []
    is_open = False
    for number, line in enumerate(_read(file).splitlines(), 1):
        if is_open:
            start, text = found[-1]
            found[-1] = (start, f"{text}\n{line}")
            is_open = "-----END " not in line
        else:
            found.append((number, line))
            is_open = "-----BEGIN " in line and "-----END " not in line
    return found


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if file == "-" else _bytes_of(Path(file))
    except OSError as error:
        raise UsageError(f"cannot read {file!r}: {error.strerror}; give a file of text, or -") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{file!r} is larger than {MAX_BYTES >> 20} MB; give a sample of it")
    return data.decode("utf-8", "replace")


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)
