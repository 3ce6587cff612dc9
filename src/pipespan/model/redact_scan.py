"""The quick look: one pass of one pattern over a text tells nearly all harmless ones.

Each secret has something about it that can be told at once: the core of a telling name with a separator behind it,
the beginning of a token, an address with an `@`, a known value. Such needles are turned into one pattern that skips in
C from one letter that is rare in logs to the next, and looks around there only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipespan.model.redact_find import CORES
from pipespan.model.redact_formats import FORMATS, PEM_BEGIN

_PER_MILLE: Final = {
    "e": 90, "t": 70, "a": 65, "o": 60, "i": 55, "n": 55, "s": 55, "r": 50, "h": 35, "l": 35, "d": 35, "c": 25, "u": 20,
    "m": 20, "p": 20, "f": 17, "g": 15, "w": 12, "y": 12, "b": 10, "v": 7, "k": 6, "x": 3, " ": 130, ".": 20, "-": 10,
    "_": 10, ":": 12, "/": 12, "=": 6, ",": 8, "(": 3, ")": 3, "'": 4, '"': 4, "%": 1, "@": 1, "\\": 1,
    **dict.fromkeys("0123456789", 20), **dict.fromkeys("EITSADR", 4), **dict.fromkeys("CMFPNLO", 3),
}  # fmt: skip
"""About how often a character stands in log messages; 1 for all others."""

_ASSIGNED: Final = (
    r"""[\w.\-]{0,48}(?:\\*["'`]?(?:[\])]?[ \t]{0,8}[=:>]|,[ \t]{0,8}[bru]?\\*["'])|\s{1,8}["'])"""
)
_KEY: Final = rf"(?<=[A-Za-z0-9_.\- ](?i:key)){_ASSIGNED}"
_FLAGGED: Final = r"[\w\-]{0,48}[ \t]{1,8}[^\s\-]"
_USER: Final = r"""[^\s"'<>`:@]*(?::(?!//)[^\s"'<>`:@]*)*@"""
"""Up to an `@` of this address and not of the next. Others stand in many texts, and in the ids of our own nodes."""


@dataclass(frozen=True, slots=True)
class Needle:
    """Something that a text with a secret has.

    Attributes:
        text: letters that stand there as they are.
        follow: a pattern for what comes behind them.
        is_any_case: whether the letters may be small or capital.
    """

    text: str
    follow: str = ""
    is_any_case: bool = False


def standard_needles(cores: Iterable[str] = ()) -> list[Needle]:
    """Return the needles of all rules but known values; `cores` are further telling names."""
    needles = [Needle(one.start, _start_of(one.rest)) for one in FORMATS]
    for core in (*CORES, *cores):
        needles += [
            Needle(core, _KEY if core == "key" else _ASSIGNED, True),
            Needle(f"-{core}", _FLAGGED, True),
        ]
    signed = "(?i:sig|x-amz-s|x-goog-s|code=)"
    needles += [
        Needle("bearer", r"(?:[\s:=]|%20).{8}", True),
        Needle("basic", r"(?:\s|%20)[A-Za-z0-9+/_-]{6}", True),
        Needle("d by", r"\s{1,4}(?i:password\s{1,4})?[\"']", True),
        Needle("curl", r"\s", True),
        Needle("://", _USER), Needle("@tcp("), Needle("@unix("), Needle("&", signed), Needle("?", signed),
        Needle(PEM_BEGIN), Needle("%", "[2-7A-Fa-f][0-9A-Fa-f]"), Needle("\\u00"), Needle("\\/"),
    ]  # fmt: skip
    return needles


def _start_of(rest: str) -> str:
    """Return a pattern for the first letter of a token's rest, which tells most words apart from it."""
    found = re.match(r"\[[^\]]*\]|\(\?=", rest)
    return found[0] if found is not None and found[0] != "(?=" else "[A-Za-z0-9_-]{8}"


def compile_scan(needles: Iterable[Needle]) -> re.Pattern[str]:
    """Return a pattern that finds something in each text that has one of `needles`."""
    wanted = list(dict.fromkeys(needles))
    anchors = anchors_of(wanted)
    branches: dict[str, dict[str, list[str]]] = {}
    for needle in wanted:
        index = min(
            (index for index, char in enumerate(needle.text) if _letters(needle, char) <= anchors),
            key=lambda index: _cost(_letters(needle, needle.text[index])),
        )
        written = _any_case if needle.is_any_case else re.escape
        before, after = needle.text[:index], needle.text[index + 1 :]
        # What follows comes first: an alternative whose first letter does not fit costs next to nothing.
        follows = written(after)
        behind = f"(?<={written(before)}.{'.' * len(after)})" if before else ""
        for letter in _letters(needle, needle.text[index]):
            # Those with the same behind them stand together: it is compiled once for all of them.
            branches.setdefault(letter, {}).setdefault(needle.follow, []).append(f"{follows}{behind}")
    # Alternatives that begin with a plain letter each let the engine skip from one such letter to the next.
    return re.compile(
        "|".join(
            f"{re.escape(letter)}(?:{'|'.join(_followed(each, by) for by, each in groups.items())})"
            for letter, groups in sorted(branches.items())
        ),
        re.DOTALL,  # a known value may have several lines
    )


def _followed(texts: list[str], follow: str) -> str:
    return f"(?:{'|'.join(texts)}){follow}" if len(texts) > 1 else f"{texts[0]}{follow}"


def _any_case(text: str) -> str:
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isalpha() and char.isascii() else re.escape(char)
        for char in text
    )


def _letters(needle: Needle, char: str) -> frozenset[str]:
    return frozenset((char.lower(), char.upper())) if needle.is_any_case else frozenset(char)


def _cost(letters: Iterable[str]) -> int:
    return sum(_PER_MILLE.get(letter, 1) for letter in letters)


STANDARD_ANCHORS: Final = frozenset("%&-:?@ABCGJKPWZ\\_bcjkpvwyz")
"""Those of the standard needles: to choose them takes as long as to parse the pattern."""


def anchors_of(needles: list[Needle], chosen: frozenset[str] = STANDARD_ANCHORS) -> frozenset[str]:
    """Return letters of which every needle has one: `chosen` ones, and rare ones where these are not enough.

    They are chosen greedily, the most needles for the least cost.
    """
    left = [{_letters(needle, char) for char in needle.text} for needle in needles]
    left = [each for each in left if not any(letters <= chosen for letters in each)]
    while left:
        count = Counter(letters for each in left for letters in each)
        best = max(
            count, key=lambda letters: (count[letters] / max(_cost(letters - chosen), 0.5), sorted(letters))
        )
        chosen |= best
        left = [each for each in left if not any(letters <= chosen for letters in each)]
    return chosen
