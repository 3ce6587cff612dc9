"""Text of strangers made safe and short, and figures made readable."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Final

from rich.cells import cell_len, set_cell_size

# Colours that a program meant for its terminal carry no meaning here and are dropped whole.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")

# What a terminal would obey rather than show: C0, DEL and C1 controls, bidirectional overrides (they reorder
# what is read), invisible characters, line and paragraph separators, and surrogates, which cannot be written at all.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    """Return `text` as one line that no terminal obeys: controls are shown as escapes, colours dropped."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(_escape, _COLOUR.sub("", text).replace("\t", " "))


def lines_of(text: str) -> list[str]:
    """Return the lines of `text`, each as safe as `one_line` makes it; tabs become spaces."""
    unified = text.replace("\r\n", "\n")
    return [one_line(line.expandtabs(8)) for line in unified.split("\n")]


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _NAMED:
        return _NAMED[char]
    if ord(char) > 0xFFFF:
        return f"\\U{ord(char):08x}"
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def shorten(text: str, width: int, *, ascii_only: bool = False) -> str:
    """Return `text` in at most `width` cells, cut in the middle: both ends of a name tell more than its middle."""
    if cell_len(text) <= width:
        return text
    gap = ".." if ascii_only else "…"
    room = width - len(gap)
    if room < 2:
        return set_cell_size(text, max(0, width)).rstrip()
    head = _fit(text, (room + 1) // 2)
    tail = _fit(text[::-1], room - cell_len(head))[::-1]
    return f"{head}{gap}{tail}"


def _fit(text: str, width: int) -> str:
    """Return the longest start of `text` in at most `width` cells."""
    fitting, used = 0, 0
    for char in text[: width * 2 + 8]:
        used += cell_len(char)
        if used > width:
            break
        fitting += 1
    return text[:fitting]


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` filled with spaces to `width` cells; with `right` it stands at the right."""
    space = " " * max(0, width - cell_len(text))
    return space + text if right else text + space


def plain(text: str, *, ascii_only: bool) -> str:
    """Return `text` for a terminal that knows ASCII only: other characters as escapes."""
    return text.encode("ascii", "backslashreplace").decode("ascii") if ascii_only else text


def duration(seconds: float) -> str:
    """Return a duration for people in its two leading units: `0.4 s`, `42 s`, `3 m 12 s`, `1 h 5 m`, `2 d 3 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def expected(seconds: float) -> str:
    """Return a duration that is an estimate: as `duration`, but without fractions of a second."""
    return duration(seconds) if seconds >= 59.5 else coarse(seconds)


def coarse(seconds: float) -> str:
    """Return a duration in one unit, of at most two digits where there are any: `42 s`, `14 m`, `5 h`, `3 d`."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    if whole < 100 * 60:
        return f"{whole // 60} m"
    return f"{whole // 3600} h" if whole < 100 * 3600 else f"{whole // 86_400} d"


def number(value: int) -> str:
    """Return a count with thousands set apart."""
    return f"{value:,}"


def rate(per_s: float, *, unit: str = "") -> str:
    """Return a rate in three digits, per second, minute, hour or day, whichever gives a number to speak of."""
    for factor, name in ((1, "s"), (60, "min"), (3600, "h")):
        if per_s * factor >= 1:
            return f"{scaled(per_s * factor)}{unit}/{name}"
    return f"{scaled(per_s * 86_400)}{unit}/d"


def scaled(value: float) -> str:
    """Return a number in about three digits: `7.5`, `832`, `1.2k`, `34.1M`."""
    for limit, divisor, suffix in (
        (999.5, 1.0, ""),
        (999_500.0, 1e3, "k"),
        (999.5e6, 1e6, "M"),
        (999.5e9, 1e9, "G"),
    ):
        if value < limit:
            return f"{_three_digits(value / divisor)}{suffix}"
    return f"{_three_digits(value / 1e12)}T"


def _three_digits(value: float) -> str:
    if value >= 99.95 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return `count` with the form of the noun that goes with it."""
    return f"{number(count)} {noun if count == 1 else nouns or noun + 's'}"


def moment(when: datetime, zone: tzinfo | None = None, *, has_ms: bool = False) -> str:
    """Return a time in `zone`, by default the reader's, with its name; `has_ms` adds milliseconds."""
    local = when.astimezone(zone)
    fraction = f".{local.microsecond // 1000:03d}" if has_ms else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction} {one_line(local.tzname() or local.strftime('%z'))}"


def clock(when: datetime, zone: tzinfo | None = None) -> str:
    """Return the time of day in `zone`, by default the reader's, with its name."""
    local = when.astimezone(zone)
    return f"{local:%H:%M:%S} {one_line(local.tzname() or local.strftime('%z'))}"
