r"""A text with its escapes undone: `\u0041` and `\/` of JSON, `%41` of addresses. Secrets are sought there too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

Places = list[tuple[int, int]]
"""For each character of a view, where it stands in the text."""

_JSON: Final = re.compile(r"\\{1,8}(?:u([0-9A-Fa-f]{4})|(/))")
_PERCENT: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def has_escapes(text: str) -> bool:
    """Tell whether there is anything to undo."""
    if "\\" in text and _JSON.search(text) is not None:
        return True
    return "%" in text and _PERCENT.search(text) is not None


def views(text: str) -> Iterator[tuple[str, Places]]:
    """Return `text` with its escapes undone, each kind for itself, and both."""
    places = [(index, index + 1) for index in range(len(text))]
    for undo in (_undo_json, _undo_percent):
        view, seen = undo(text, places)
        if view != text:
            yield view, seen
    inner, seen = _undo_json(text, places)
    both, seen = _undo_percent(inner, seen)
    if inner not in {text, both}:
        yield both, seen


def _undo_json(text: str, places: Places) -> tuple[str, Places]:
    parts: list[str] = []
    seen: Places = []
    last = 0
    for match in _JSON.finditer(text):
        parts.append(text[last : match.start()])
        seen += places[last : match.start()]
        char = match[2] or chr(int(match[1], 16))
        parts.append(char)
        seen.append((places[match.start()][0], places[match.end() - 1][1]))
        last = match.end()
    parts.append(text[last:])
    return "".join(parts), seen + places[last:]


def _undo_percent(text: str, places: Places) -> tuple[str, Places]:
    parts: list[str] = []
    seen: Places = []
    last = 0
    for match in _PERCENT.finditer(text):
        parts.append(text[last : match.start()])
        seen += places[last : match.start()]
        coded = bytes.fromhex(match[0].replace("%", ""))
        decoded = coded.decode("utf-8", "replace")
        parts.append(decoded)
        start = match.start()
        whole = (places[start][0], places[match.end() - 1][1])
        if len(decoded) == len(coded):
            seen += [(places[start + 3 * i][0], places[start + 3 * i + 2][1]) for i in range(len(coded))]
        else:
            seen += [whole] * len(decoded)
        last = match.end()
    parts.append(text[last:])
    return "".join(parts), seen + places[last:]
