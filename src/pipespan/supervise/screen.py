"""The little of a terminal that progress bars need: rows that are overwritten, and a cursor that goes up again."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MAX_LINE_CHARS: Final = 16_384
"""A longer line is cut into pieces of this size, so that one line can fill neither the memory nor a table's row."""

MAX_ROWS: Final = 64
"""How many rows the cursor can move within; nobody shows more bars than a screen has rows."""

QUIET_NEWLINES: Final = 8
"""So many newlines without a move upwards, and more than twice the height of the bars, mean that the bars are over."""


class Row:
    """One row: its text, and what of it has been handed out as a finished line already."""

    __slots__ = ("_is_rewritten", "_width", "emitted", "text")

    def __init__(self) -> None:
        self.text = ""
        self.emitted: str | None = None
        self._is_rewritten = False
        self._width = 0

    def write(self, run: str, column: int) -> int:
        """Put `run` at `column`, over what stands there, and return the column behind it."""
        if column == self._width:
            self.text += run
            self._width += columns_of(run)
            return self._width
        cells = _cells(self.text)
        new = _cells(run)
        end = column + len(new)
        _split_wide(cells, column)
        _split_wide(cells, end)
        cells[column:end] = new
        self._replace(cells)
        return end

    def pad(self, column: int) -> None:
        """Fill up with blanks so that something can be written at `column`."""
        if column > self._width:
            self.text += " " * (column - self._width)
            self._width = column

    def erase(self, start: int, end: int | None) -> None:
        """Blank the columns from `start` to `end` (None: to the end of the row)."""
        cells = _cells(self.text)
        _split_wide(cells, start)
        if end is None or end >= len(cells):
            del cells[start:]
        else:
            _split_wide(cells, end)
            cells[start:end] = " " * (end - start)
        self._replace(cells)

    def shown(self) -> str:
        """Return what a reader sees; the blanks that clear the rest of an overwritten row are not content."""
        return self.text.rstrip() if self._is_rewritten else self.text

    def _replace(self, cells: list[str]) -> None:
        self._is_rewritten = True
        self.text = "".join(cells)
        self._width = len(cells)


def columns_of(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return len(text) if text.isascii() else sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cells(text: str) -> list[str]:
    """Split into one string per column; a wide character is followed by an empty cell."""
    if text.isascii():
        return list(text)
    cells: list[str] = []
    for char in text:
        cells.append(char)
        cells.extend([""] * (_char_columns(char) - 1))
    return cells


def _split_wide(cells: list[str], column: int) -> None:
    """Blank a wide character that stands across the border before `column`, as a terminal does."""
    if 0 < column < len(cells) and cells[column] == "":
        cells[column - 1 : column + 1] = "  "


@dataclass(slots=True)
class Screen:
    """The last rows of an output and the cursor.

    A newline at the last row finishes it at once. Only after a move upwards the rows within its reach are
    held back until they leave that reach, because they are about to be written again and again.
    """

    finished: list[str] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=lambda: [Row()])
    _line: int = 0
    _column: int = 0
    _reach: int = 0
    _quiet: int = 0
    _open_from: int = 0
    """The first row that may differ from what was handed out of it."""

    @property
    def current(self) -> str:
        """What the row under the cursor shows now."""
        return self._rows[self._line].shown()

    def write(self, run: str) -> None:
        """Write text without control characters at the cursor."""
        self._rows[self._line].pad(self._column)
        while run:
            row = self._rows[self._line]
            room = MAX_LINE_CHARS - len(row.text)
            if room <= 0:
                self._cut()
                continue
            self._column = row.write(run[:room], self._column)
            run = run[room:]

    @property
    def is_plain(self) -> bool:
        """Whether the cursor is in the last row and no row is held back: what comes now are just lines."""
        return not self._reach and self._line == len(self._rows) - 1

    def finish_lines(self, lines: Iterable[str]) -> None:
        """Hand out whole lines that the cursor cannot come back to, without making rows of them.

        For a screen that `is_plain` and whose last row is empty, and when `MAX_ROWS` newlines follow: by then no
        row from before is known any more, so that nobody can see the difference.
        """
        for line in lines:
            if len(line) <= MAX_LINE_CHARS:
                self.finished.append(line)
            else:
                starts = range(0, len(line), MAX_LINE_CHARS)
                self.finished += (line[start : start + MAX_LINE_CHARS] for start in starts)

    def newline(self) -> None:
        """Go to the start of the next row; at the last one this makes a new row."""
        self._column = 0
        self._line += 1
        self._quiet += 1
        if self._line == len(self._rows):
            self._rows.append(Row())
        if self._reach and self._quiet > max(QUIET_NEWLINES, 2 * self._reach):
            self._reach = 0
        self._settle()

    def move_up(self, count: int) -> None:
        """Go up, at most to the oldest row that is known."""
        self._line = max(0, self._line - count)
        self._open_from = min(self._open_from, self._line)
        self._reach = max(self._reach, len(self._rows) - 1 - self._line)
        self._quiet = 0

    def move_down(self, count: int) -> None:
        """Go down, at most to the last row."""
        self._line = min(len(self._rows) - 1, self._line + count)

    def move_to_row(self, row: int) -> None:
        """Go to the given row, from 0, of those that are known."""
        self.move_up(self._line)
        self.move_down(row)

    def move_to_column(self, column: int) -> None:
        """Go to a column of the row, from 0."""
        self._column = min(max(0, column), MAX_LINE_CHARS)

    def move_columns(self, count: int) -> None:
        """Go right, or left when negative."""
        self.move_to_column(self._column + count)

    def erase_line(self, mode: int) -> None:
        """Blank the row: from the cursor (0), up to it (1) or whole (2)."""
        row = self._rows[self._line]
        if mode == 1:
            row.erase(0, self._column + 1)
        else:
            row.erase(self._column if mode == 0 else 0, None)

    def erase_below(self) -> None:
        """Blank everything from the cursor to the end."""
        self.erase_line(0)
        for row in self._rows[self._line + 1 :]:
            row.erase(0, None)

    def finish(self) -> None:
        """Finish every row and begin with an empty one; empty rows from the cursor on are no lines."""
        while len(self._rows) > self._line and not self._rows[-1].shown():
            self._rows.pop()
        for row in self._rows[self._open_from :]:
            self._emit(row)
        self._rows = [Row()]
        self._line = self._column = self._reach = self._quiet = self._open_from = 0

    def _cut(self) -> None:
        """Hand out a row that has become too long, and go on in its place with an empty one."""
        self._emit(self._rows[self._line])
        self._rows[self._line] = Row()
        self._column = 0

    def _settle(self) -> None:
        """Hand out the rows that the cursor is not expected to come back to, and forget the oldest."""
        settled = len(self._rows) - 1 - self._reach
        if self._line < settled:
            return
        for row in self._rows[self._open_from : settled]:
            self._emit(row)
        self._open_from = max(self._open_from, settled)
        if len(self._rows) > MAX_ROWS:
            self._forget(len(self._rows) - MAX_ROWS)

    def _forget(self, count: int) -> None:
        for row in self._rows[self._open_from : count]:
            self._emit(row)
        del self._rows[:count]
        self._line -= count
        self._open_from = max(0, self._open_from - count)

    def _emit(self, row: Row) -> None:
        shown = row.shown()
        if row.emitted is None or (shown and shown != row.emitted):
            self.finished.append(shown)
            row.emitted = shown
