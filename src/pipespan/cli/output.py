"""Standard output as a terminal or a pipe: width, colours and characters that it knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style
from rich.text import Text

from pipespan.query.document import json_line


def open_console() -> Console:
    """Return standard output; over a pipe, or with NO_COLOR, without colours."""
    return Console(highlight=False, markup=False, emoji=False)


def is_ascii_only(console: Console) -> bool:
    """Tell whether the output's encoding lacks the characters that trees and bars are drawn with."""
    return not console.encoding.lower().replace("-", "").startswith("utf")


def is_live(console: Console) -> bool:
    """Tell whether what was printed can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


def print_text(console: Console, text: Text) -> None:
    """Print `text` as it is: what is longer than a line is for the terminal to wrap, for a pipe to keep whole."""
    console.print(text, soft_wrap=True)


class LinePrinter:
    """Prints many lines of one record each, without laying each of them out: that takes longer than reading them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_ascii = is_ascii_only(console)
        self._codes: dict[str, tuple[str, str]] = {"": ("", "")}

    def print(self, spans: Iterable[tuple[str, str]]) -> None:
        """Print texts, each with its style, as one line; see `print_text` for its length."""
        if self._console.legacy_windows:
            print_text(self._console, Text.assemble(*spans))
        elif self._console.color_system is None:
            self._console.file.write("".join(text for text, _ in spans) + "\n")
        else:
            self._console.file.write("".join(map(self._styled, spans)) + "\n")

    def print_json(self, value: Any) -> None:
        """Print `value` as one line of JSON."""
        self._console.file.write(json_line(value, ascii_only=self._is_ascii) + "\n")

    def flush(self) -> None:
        """Hand on what was printed; whoever waits for more should do it first."""
        self._console.file.flush()

    def _styled(self, span: tuple[str, str]) -> str:
        text, style = span
        known = self._codes.get(style)
        if known is None:
            known = self._codes[style] = self._codes_of(Style.parse(style))
        return f"{known[0]}{text}{known[1]}"

    def _codes_of(self, style: Style) -> tuple[str, str]:
        if self._console.no_color:
            style = style.without_color
        before, _, after = style.render("\0", color_system=self._color_system()).partition("\0")
        return before, after

    def _color_system(self) -> ColorSystem | None:
        name = self._console.color_system
        return None if name is None else COLOR_SYSTEMS[name]


def print_json(console: Console, value: Any) -> None:
    """Print `value` as one line of JSON and hand it on at once, as a reader of the pipe may be waiting for it."""
    console.file.write(json_line(value, ascii_only=is_ascii_only(console)) + "\n")
    console.file.flush()
