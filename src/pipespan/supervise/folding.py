"""Turns the bytes that a program writes to its terminal into the lines that a reader of a log wants.

Progress bars write one line a thousand times over; what is kept of it is what a terminal would show in the end.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from pipespan.supervise.screen import MAX_ROWS, Screen

_CONTROL: Final = re.compile(r"[\n\r\b\x1b]")
_CURSOR: Final = re.compile(r"[\r\b\x1b]")
_STRING_END: Final = re.compile(r"[\x07\n\x18\x1a\x1b]")
_MAX_CSI_CHARS: Final = 64
"""No control sequence that means anything is longer; what goes on is not one."""

_STRING_STARTS: Final = "]PX^_"
"""What follows ESC where a string up to BEL or ST begins: window titles, hyperlinks, device control."""

_ALTERNATE_SCREENS: Final = ("?47", "?1047", "?1049")


_MIN_BULK_LINES: Final = 2 * MAX_ROWS
"""From so many lines in one piece on it pays to look whether they are plain ones."""


class LineFolder:
    """Folds one stream. The result does not depend on how the bytes were cut into chunks; memory is bounded."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._screen = Screen()
        self._handler = self._ground
        self._sequence = ""
        self._is_alternate = False

    @property
    def current(self) -> str:
        """What the unfinished line shows now, for instance the last state of a bar."""
        return self._screen.current

    def feed(self, data: bytes) -> list[str]:
        """Take the next bytes and return the lines that they finish."""
        return self._run(self._decoder.decode(data))

    def finish(self) -> list[str]:
        """Return what is left at the end of the stream, a last line without newline among it."""
        lines = self._run(self._decoder.decode(b"", final=True))
        self._screen.finish()
        lines += self._taken()
        self._handler = self._ground
        self._decoder.reset()
        return lines

    def _run(self, text: str) -> list[str]:
        position = self._bulk(text)
        while position < len(text):
            position = self._handler(text, position)
        return self._taken()

    def _bulk(self, text: str) -> int:
        """Take most of a piece of many plain lines at once, and return how far that went."""
        if self._handler != self._ground or self._is_alternate or not self._screen.is_plain:
            return 0
        if text.count("\n") < _MIN_BULK_LINES or _CURSOR.search(text):
            return 0
        first, *lines = text.split("\n")
        # The first one ends a row that may have begun; the last ones the cursor may still come back to.
        if first:
            self._screen.write(first)
        self._screen.newline()
        self._screen.finish_lines(lines[: -MAX_ROWS - 1])
        return len(text) - MAX_ROWS - sum(map(len, lines[-MAX_ROWS - 1 :]))

    def _taken(self) -> list[str]:
        lines = self._screen.finished
        self._screen.finished = []
        return lines

    def _ground(self, text: str, position: int) -> int:
        """Handle plain text up to the next control character, and that."""
        found = _CONTROL.search(text, position)
        end = found.start() if found else len(text)
        if not self._is_alternate:
            if end > position:
                self._screen.write(text[position:end])
            if found:
                self._control(found[0])
        if found and found[0] == "\x1b":
            self._handler = self._escape
        return end + 1

    def _control(self, char: str) -> None:
        if char == "\n":
            self._screen.newline()
        elif char == "\r":
            self._screen.move_to_column(0)
        elif char == "\b":
            self._screen.move_columns(-1)

    def _escape(self, text: str, position: int) -> int:
        """Handle what follows an ESC."""
        char = text[position]
        if char == "[":
            self._sequence = ""
            self._handler = self._csi
        elif char in _STRING_STARTS:
            self._handler = self._string
        elif char == "M":
            self._screen.move_up(1)
            self._handler = self._ground
        elif not " " <= char <= "/":
            self._handler = self._ground
            if _CONTROL.match(char):
                return position
        return position + 1

    def _csi(self, text: str, position: int) -> int:
        """Collect a control sequence up to its final character; anything foreign ends it."""
        char = text[position]
        if " " <= char <= "?" and len(self._sequence) < _MAX_CSI_CHARS:
            self._sequence += char
            return position + 1
        self._handler = self._ground
        if not "@" <= char <= "~":
            return position
        self._act(char)
        return position + 1

    def _string(self, text: str, position: int) -> int:
        """Skip a string; a newline ends it too, so that a broken one costs one line at most."""
        found = _STRING_END.search(text, position)
        if not found:
            return len(text)
        if found[0] == "\x1b":
            self._handler = self._escape
            return found.end()
        self._handler = self._ground
        return found.start() if found[0] == "\n" else found.end()

    def _act(self, final: str) -> None:
        """Do what a control sequence says, as far as it moves the cursor or erases; colours say nothing here."""
        if final in "hl" and self._sequence in _ALTERNATE_SCREENS:
            # A full-screen program: a terminal shows nothing of it afterwards, so nothing is logged.
            self._is_alternate = final == "h"
        if self._is_alternate or self._sequence.startswith(("?", ">", "<", "=")):
            return
        first, second = _numbers(self._sequence)
        if final in "ABCDEFG":
            self._move(final, max(1, first))
        elif final in "Hf":
            self._screen.move_to_row(max(1, first) - 1)
            self._screen.move_to_column(max(1, second) - 1)
        elif final == "K":
            self._screen.erase_line(first)
        elif final == "J" and first == 0:
            self._screen.erase_below()
        elif final == "J" and first in (2, 3):
            self._screen.finish()

    def _move(self, final: str, count: int) -> None:
        if final in "AF":
            self._screen.move_up(count)
        elif final in "BE":
            self._screen.move_down(count)
        elif final in "CD":
            self._screen.move_columns(count if final == "C" else -count)
        if final in "EF":
            self._screen.move_to_column(0)
        elif final == "G":
            self._screen.move_to_column(count - 1)


def _numbers(parameters: str) -> tuple[int, int]:
    """Return the first two numbers of a control sequence, 0 where there is none."""
    parts = [*parameters.split(";"), "", ""]
    first, second = (int(part) if part.isascii() and part.isdigit() else 0 for part in parts[:2])
    return first, second
