"""Plain tables that fit the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from pipespan.cli.render.look import FAINT, look_for
from pipespan.cli.render.text import pad

_GAP: Final = "  "
_MIN_NAME: Final = 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: stands above it.
        right: figures stand at the right.
        rank: the column of the highest rank is left out first where the width does not suffice; 0 always stays.
    """

    title: str
    right: bool = True
    rank: int = 0


def render_grid(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
) -> Text:
    """Return a table with a line of titles, no line longer than `width`; the first column gives way.

    Columns that are empty in all rows are left out.
    """
    look = look_for(ascii_only=ascii_only)
    safe = [[look.safe(cell) for cell in row] for row in rows]
    kept = [place for place, _ in enumerate(columns) if place == 0 or any(row[place] for row in safe)]
    sizes = [max(cell_len(text) for text in (column.title, *(row[place] for row in safe)))
             for place, column in enumerate(columns)]  # fmt: skip
    need = min(_MIN_NAME, sizes[0])
    while _total(sizes, kept, need) > width and any(columns[place].rank for place in kept):
        kept.remove(max(kept, key=lambda place: columns[place].rank))
    sizes[0] = max(min(sizes[0], width - _total(sizes, kept, 0)), 4)
    lines = []
    for number, row in enumerate([[column.title for column in columns], *safe]):
        cells = (
            pad(look.short(row[place], sizes[place]), sizes[place], right=columns[place].right)
            for place in kept
        )
        line = Text(_GAP.join(cells).rstrip(), style=FAINT if number == 0 else "")
        line.truncate(width)
        lines.append(line)
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _total(sizes: Sequence[int], kept: Sequence[int], first: int) -> int:
    return first + sum(sizes[place] + len(_GAP) for place in kept if place)
