"""Standard output as a terminal or a pipe: width, colours and characters that it knows."""

from __future__ import annotations

from typing import Any

from rich.console import Console
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


def print_json(console: Console, value: Any) -> None:
    """Print `value` as one line of JSON and hand it on at once, as a reader of the pipe may be waiting for it."""
    console.file.write(json_line(value, ascii_only=is_ascii_only(console)) + "\n")
    console.file.flush()
