from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from pipespan.cli.output import LinePrinter
from pipespan.cli.render.logs import render_log
from tests.cli.runner import Cli
from tests.query.samples import ListSource, experiment, log

STYLED = [("12:00 ", "bright_black"), ("ERROR ", "bold red"), ("plain\n    more", "")]


def console_with(color_system: str | None, *, no_color: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=color_system is not None,
        color_system=color_system,  # type: ignore[arg-type]  # rich names them in a literal type
        width=200,
        _environ={"TERM": "xterm"},
        no_color=no_color,
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("color_system", ["standard", "256", "truecolor", None])
@pytest.mark.parametrize("no_color", [False, True])
def test_quick_lines_look_like_others(color_system: str | None, no_color: bool) -> None:
    """What is printed without layout has the characters and colours that rich gives it."""
    quick = console_with(color_system, no_color=no_color)
    LinePrinter(quick).print(STYLED)
    slow = console_with(color_system, no_color=no_color)
    slow.print(Text.assemble(*STYLED), soft_wrap=True)
    plain = Text.from_ansi(written(quick))
    assert plain == Text.from_ansi(written(slow))
    assert ("\x1b" in written(quick)) == ("\x1b" in written(slow))


def test_many_log_lines_are_not_laid_out_one_by_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records are asked for, rich is not called for each: it would take longer than the database."""
    calls: list[object] = []
    monkeypatch.setattr(Console, "print", lambda *args, **_options: calls.append(args))
    source = ListSource([experiment()], all_logs=[log(number) for number in range(1, 501)])
    assert len(cli(source, "logs", "--limit", "500").lines) == 500
    assert calls == []


def test_log_lines_have_their_colours() -> None:
    """On a terminal the level stands out."""
    console = console_with("standard")
    LinePrinter(console).print(render_log(log(1, "bad", "ERROR"), False, has_traceback=False))
    assert "\x1b[31m" in written(console)
