"""What statuses, bars and branches look like, in UTF-8 and in ASCII."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipespan.cli.render.text import one_line, plain, shorten
from pipespan.model.health import HealthWord
from pipespan.model.status import LogLevel
from pipespan.query.status import NodeState

STATUS_STYLES: Final[Mapping[NodeState, str]] = {
    "pending": "bright_black",
    "running": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "interrupted": "red",
}

HEALTH_STYLES: Final[Mapping[HealthWord, str]] = {
    "alive": "green",
    "stalled": "yellow",
    "lost contact": "yellow",
    "dead": "bold red",
    "finished": "",
}

LEVEL_STYLES: Final[Mapping[LogLevel, str]] = {
    "DEBUG": "bright_black",
    "INFO": "",
    "WARNING": "yellow",
    "ERROR": "red",
    "CRITICAL": "bold red",
}

FAINT: Final = "bright_black"
ERROR: Final = "red"


@dataclass(frozen=True, slots=True)
class Look:
    """The characters to draw with.

    Attributes:
        ascii_only: the terminal knows nothing else.
        symbols: one cell for each state.
        full: a done cell of a bar.
        rest: a cell of a bar that is still to do.
        branch: before a child that has siblings below it.
        last_branch: before the last child.
        stem: beside the children of one that has siblings below it.
        more: begins a line that stands for many.
    """

    ascii_only: bool
    symbols: Mapping[NodeState, str]
    full: str
    rest: str
    branch: str
    last_branch: str
    stem: str
    more: str

    def safe(self, text: str) -> str:
        """Return `text` as one line that this terminal can show and does not obey."""
        return plain(one_line(text), ascii_only=self.ascii_only)

    def short(self, text: str, width: int) -> str:
        """Return `text`, already safe, in at most `width` cells."""
        return shorten(text, width, ascii_only=self.ascii_only)

    def bar(self, ppb: int, width: int) -> tuple[str, str]:
        """Return the done and the remaining part of a bar: empty only at nothing, full only when all is done."""
        done = min(width, ppb * width // 1_000_000_000)
        if done == 0 and ppb > 0 and width > 1:
            done = 1
        return self.full * done, self.rest * (width - done)


_UNICODE: Final = Look(
    ascii_only=False,
    symbols={
        "pending": "○",
        "running": "●",
        "completed": "✔",
        "failed": "✖",
        "cancelled": "■",
        "interrupted": "†",
    },
    full="━",
    rest="─",
    branch="├─ ",
    last_branch="└─ ",
    stem="│  ",
    more="…",
)

_ASCII: Final = Look(
    ascii_only=True,
    symbols={
        "pending": ".",
        "running": ">",
        "completed": "+",
        "failed": "x",
        "cancelled": "-",
        "interrupted": "!",
    },
    full="#",
    rest="-",
    branch="|- ",
    last_branch="`- ",
    stem="|  ",
    more="...",
)


def look_for(*, ascii_only: bool) -> Look:
    """Return the look for a terminal."""
    return _ASCII if ascii_only else _UNICODE
