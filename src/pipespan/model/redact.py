"""Hides secrets in what is recorded: the last look before the spool and before OTLP.

A text that the quick look (`Redactor.look`) finds harmless, as nearly all are, is returned as it is. For the others all
rules look at it, also with its escapes undone, and what they find becomes one marker, which tells nothing of what it
hid. Nothing here raises: where a rule fails, the whole text is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pipespan.model.attributes import json_text, jsonable
from pipespan.model.redact_find import Span, addresses, core_pattern, headers, named_values
from pipespan.model.redact_formats import private_keys, tokens
from pipespan.model.redact_known import fragments, known_pattern
from pipespan.model.redact_names import Certainty, certainty_of, name_words
from pipespan.model.redact_scan import Needle, compile_scan, standard_needles
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.redact_values import MARKER, is_placeholder, looks_random
from pipespan.model.redact_views import has_escapes, views

_MAX_ROUNDS: Final = 4


class Redactor:
    """Hides what a spec, and the secrets that are known, say.

    Args:
        spec: what the setting adds.
        known: values that are secret wherever they stand.

    Attributes:
        is_on: whether anything is hidden at all.
        look: the quick look; for a text that it returns None for, it is certain that there is no secret in it.
    """

    def __init__(self, spec: RedactSpec, known: Iterable[str] = ()) -> None:
        self._spec = spec
        values = tuple(dict.fromkeys((*spec.values, *known)))
        self._known = known_pattern(one for one in values if one not in MARKER)
        self._keys = frozenset("".join(name_words(key)) for key in spec.keys)
        self._keep = frozenset("".join(name_words(key)) for key in spec.keep)
        extra = tuple(
            sorted(
                {key.lower() for key in spec.keys}
                | {words[-1] for key in spec.keys if (words := name_words(key))}
            )
        )
        self._cores = core_pattern(extra)
        scan = compile_scan(
            [*standard_needles(extra), *(Needle(one) for each in values for one in fragments(each))]
        )
        self.is_on = spec.is_on
        self.look: Callable[[str], object | None] = self._looks(scan) if spec.is_on else lambda _: None

    def _looks(self, scan: re.Pattern[str]) -> Callable[[str], object | None]:
        patterns = self._spec.patterns
        if not patterns:
            return scan.search
        return lambda text: (
            scan.search(text) or next(filter(None, (one.search(text) for one in patterns)), None)
        )

    def text(self, text: str, *, is_command: bool = False) -> str:
        """Return `text` with its secrets hidden; the very same object where there are none.

        Args:
            text: anything.
            is_command: it is a command line, where a word behind `--password` is never part of a sentence.
        """
        if self.look(text) is None and not (is_command and self.is_on):
            return text
        try:
            for _ in range(_MAX_ROUNDS):  # what is hidden may lay bare what was unclear beside it
                spans = self._needed_spans(text, is_command=is_command)
                if not spans:
                    return text
                text = _without(text, spans)
        except Exception:  # noqa: BLE001 - what cannot be looked at is not shown
            return MARKER
        return text

    def _needed_spans(self, text: str, *, is_command: bool) -> list[Span]:
        """Return what `spans` does; most rules need not look at what the quick look finds harmless."""
        if self.look(text) is not None:
            return self.spans(text, is_command=is_command)
        return _merged(text, self._named(text, is_command=True)) if is_command else []

    def spans(self, text: str, *, is_command: bool = False) -> list[Span]:
        """Return what would be hidden in `text`, in order, never overlapping."""
        found = self._found(text, is_command=is_command)
        if has_escapes(text):
            for view, places in views(text):
                found += [
                    (places[start][0], places[end - 1][1], rule)
                    for start, end, rule in self._found(view, is_command=is_command)
                ]
        return _merged(text, found)

    def _found(self, text: str, *, is_command: bool) -> list[Span]:
        found: list[Span] = [
            *tokens(text),
            *addresses(text),
            *headers(text),
            *self._named(text, is_command=is_command),
            *((start, end, "private key") for start, end in private_keys(text)),
        ]
        if self._known is not None:
            found += [(match.start(), match.end(), "known value") for match in self._known.finditer(text)]
        for pattern in self._spec.patterns:
            found += [
                (*match.span(1 if pattern.groups else 0), "pattern") for match in pattern.finditer(text)
            ]
        return [span for span in found if span[1] > span[0]]

    def _named(self, text: str, *, is_command: bool) -> list[Span]:
        return list(named_values(text, self._cores, self.certainty, is_command=is_command))

    def certainty(self, name: str) -> Certainty:
        """Tell how sure `name` says that its value is a secret, with what the spec says of names."""
        if self._keys or self._keep:
            plain = "".join(name_words(name))
            if plain in self._keep:
                return "none"
            if plain in self._keys:
                return "strong"
        return certainty_of(name)

    def value(self, value: Any) -> Any:
        """Return a value that JSON knows with the secrets in it hidden; the same object where there are none."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list | tuple):
            items = [self.value(item) for item in value]
            is_same = all(new is old for new, old in zip(items, value, strict=True))
            return value if is_same else type(value)(items) if type(value) in {list, tuple} else items
        return value

    def _mapping(self, values: Mapping[Any, Any]) -> Any:
        pairs = [
            (key, self.text(key) if isinstance(key, str) else key, value) for key, value in values.items()
        ]
        hidden = {new: self._of_key(key, value) for key, new, value in pairs}
        is_same = all(new is key and hidden[new] is value for key, new, value in pairs)
        return values if is_same else hidden

    def _of_key(self, key: Any, value: Any) -> Any:
        certainty = self.certainty(key) if isinstance(key, str) else "none"
        if certainty == "none" or value is None or isinstance(value, bool):
            return self.value(value)
        return MARKER if _is_secret(value, certainty, key) else self.value(value)

    def json(self, value: Any) -> Any:
        """Return any value as `value` does; what JSON has no form for is given one first, if that is needed."""
        try:
            if self.look(json_text(value)) is None:
                return value
            plain = jsonable(value)
            shown = self.value(plain)
            return value if shown is plain else shown
        except Exception:  # noqa: BLE001 - what cannot be looked at is not shown
            return MARKER

    def words(self, words: Iterable[str]) -> list[str]:
        """Return the words of a command with secrets hidden, also those that stand alone behind their option."""
        shown: list[str] = []
        option = ""
        for word in words:
            is_value = option != "" and not word.startswith("-") and not is_placeholder(word)
            shown.append(MARKER if is_value else self.text(word, is_command=True))
            is_option = word.startswith("--") and "=" not in word and self.certainty(word) == "strong"
            option = word if is_option else ""
        return shown


def _is_secret(value: Any, certainty: Certainty, key: str) -> bool:
    """Tell whether the value of a secret key is one itself: counts and words of nothing are not."""
    if isinstance(value, str):
        if is_placeholder(value) or value.lower() == key.lower():
            return False
        if key.lower().endswith("pwd") and value.startswith(("/", "~")):
            return False
        return certainty == "strong" or looks_random(value)
    if isinstance(value, int | float):
        return certainty == "strong" and len(str(value)) >= 4
    return certainty == "strong" and bool(value)


def _merged(text: str, found: list[Span]) -> list[Span]:
    """Return spans in order; those that touch or overlap become one, markers that are there stay what they are."""
    merged: list[Span] = []
    for start, end, rule in sorted(found):
        if text[start:end] == MARKER:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
        else:
            merged.append((start, end, rule))
    return merged


def _without(text: str, spans: list[Span]) -> str:
    parts, place = [], 0
    for start, end, _ in spans:
        parts += [text[place:start], MARKER]
        place = end
    parts.append(text[place:])
    return "".join(parts)
