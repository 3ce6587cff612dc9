"""Reading what stands behind a telling name: where the value ends, and whether it is a secret at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pipespan.model.redact_names import Certainty, certainty_of

MARKER: Final = "[redacted]"
"""Stands for each thing that is hidden; the same for all of them, whatever and however long it was."""

_OPENING: Final = re.compile(r"""(?:[bBrRfFuU]{1,2}(?=\\{0,8}["']))?(\\{0,8})(["'`])""")
_CLOSING: Final = {quote: re.compile(rf"(?:[^\\{quote}]|\\.)*", re.DOTALL) for quote in "\"'`"}

# A separator ends a bare value only where something else begins behind it: passwords may have any of them.
_BARE: Final = re.compile(
    r"""(?:[^\s"'`,;&)\]}<>|\\]
        | [,;&)\]}<>|"'`\\](?!\s|$|["'`\])}>,;:.]|[nrt"'][^\s]|[\w.\-\[\]]{1,64}=|[\w.\-]{1,64}\\?["']?:)
        )+""",
    re.VERBOSE,
)
_LISTED: Final = re.compile(r"""[\[({]\s*(?=\\{0,8}["'])""")
_LIST_END: Final = re.compile(r"[^\])}]{0,20000}")
_XML: Final = re.compile(r"[^<]{1,20000}")
_COOKIES: Final = re.compile(r"""[^\s"',;]+(?:;\s?[^\s"',;]+)*""")
_SCHEME: Final = re.compile(
    r"(?:basic|bearer|digest|token|negotiate|apikey|aws4-hmac-sha256)(?:\s{1,4}|%20)", re.IGNORECASE
)
_TYPE: Final = re.compile(
    r"(?:str|bytes|int|bool|string|Any|SecretStr|(?:Optional|Union|Annotated)\[[^\]\n]{1,80}\])(?:\s*\|\s*None)?\s*=\s*"
)

_PLACEHOLDER: Final = re.compile(
    r"""(?: [*x•.#?_-]+ | \$?\{.* | \$\(.* | \$[A-Za-z_0-9]+ | %\(.* | %[sdr] | %[A-Z_]{2,64}% | <[^<>]*>? | \[.*
         | \( | \{.* )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_WORDS_FOR_NOTHING: Final = frozenset(  # words, because as a list they would fill a page
    """
    none null nil true false undefined nan empty unset set missing required optional redacted hidden masked
    filtered removed yes no ok str bytes int bool string secretstr any object - n/a default changed unchanged
    invalid valid expired incorrect wrong failed denied rejected accepted provided given found unknown
    refreshed rotated and or is was not the a an to for in of on with must should can cannot from file option
    flag prompt authentication it that this then if when will has may as at by are be but instead argument
    parameter ...
    """.split()  # noqa: SIM905
) | {""}
_CODE: Final = re.compile(
    r"[A-Za-z_][\w.]*[\[(]|(?:self|cls|os|sys|args|config|settings|env|kwargs|request|options)\.[\w.]+$"
)
_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9_.,]*(?:[eE][-+]?[0-9]+)?%?")
_PATH: Final = re.compile(r"(?:/|~/|\./|\.\./|[A-Za-z]:[\\/]|file:)")
_DIGIT: Final = re.compile(r"[0-9]")
_LONG_WORD: Final = 20
_SHORT_NUMBER: Final = 10


@dataclass(frozen=True, slots=True)
class Value:
    """Where a value stands in a text, quotes left out.

    Attributes:
        is_sure: what stands before leaves no doubt that it is a value (`=`, quotes), and not the next word of a
            sentence.
    """

    start: int
    end: int
    is_quoted: bool
    is_sure: bool


def read_value(text: str, start: int, name: str, *, is_sure: bool) -> Value | None:
    """Return the value of `name` that begins at `start`."""
    if text.startswith(MARKER, start):
        return None
    opening = _OPENING.match(text, start)
    if opening is not None:
        return _quoted(text, opening, is_sure=is_sure)
    low = name.lower()
    if low.endswith("cookie"):
        return _matched(_COOKIES.match(text, start), is_sure=is_sure)
    if low.endswith("authorization") and (scheme := _SCHEME.match(text, start)) is not None:
        found = _BARE.match(text, scheme.end())
        return None if found is None else Value(found.start(), found.end(), False, True)
    hint = _TYPE.match(text, start)
    if hint is not None:  # a variable's type in a line of code
        return read_value(text, hint.end(), name, is_sure=True)
    listed = _LISTED.match(text, start)
    if listed is not None and certainty_of(name) == "strong":
        body = _LIST_END.match(text, listed.end())
        return None if body is None else Value(listed.end(), body.end(), True, is_sure)
    return _matched(_BARE.match(text, start), is_sure=is_sure)


def _matched(found: re.Match[str] | None, *, is_sure: bool) -> Value | None:
    return None if found is None else Value(found.start(), found.end(), False, is_sure)


def _quoted(text: str, opening: re.Match[str], *, is_sure: bool) -> Value:
    """Read up to the quote that closes; where none does, everything may belong to it."""
    escape, quote = opening[1], opening[2]
    start = opening.end()
    if text.startswith(quote * 2, start) and not escape:  # three quotes
        close = text.find(quote * 3, start + 2)
        return Value(start + 2, len(text) if close < 0 else close, True, is_sure)
    if escape:
        end = text.find(escape + quote, start)
        return Value(start, len(text) if end < 0 else end, True, is_sure)
    body = _CLOSING[quote].match(text, start)
    return Value(start, len(text) if body is None else body.end(), True, is_sure)


def xml_value(text: str, start: int) -> Value | None:
    """Return the text of an XML element that begins at `start`."""
    return _matched(_XML.match(text, start), is_sure=True)


def is_placeholder(value: str) -> bool:
    """Tell whether `value` stands for a value that is not there, or is filled in elsewhere."""
    bare = value.strip()
    if len(bare) > 200:
        return False
    return MARKER in bare or bare.lower() in _WORDS_FOR_NOTHING or _PLACEHOLDER.fullmatch(bare) is not None


def looks_random(value: str) -> bool:
    """Tell whether `value` looks made up by a machine, or by somebody who was told to use digits and capitals."""
    if len(value) < 6 or _NUMBER.fullmatch(value) is not None:
        return len(value) >= _LONG_WORD
    if len(value) >= _LONG_WORD and not any(char.isspace() for char in value[:1000]):
        return True
    has_digit = _DIGIT.search(value) is not None
    is_mixed = value[1:] != value[1:].lower() and value != value.upper()
    has_symbol = any(not char.isalnum() and char not in "-_./ ,'()" for char in value)
    return has_digit or is_mixed or has_symbol


def is_secret_value(text: str, name: str, certainty: Certainty, found: Value) -> bool:
    """Tell whether the value of `name` is to be hidden."""
    value = text[found.start : found.end]
    if not value or is_placeholder(value) or value.lower() == name.lower():
        return False
    if _NUMBER.fullmatch(value) is not None and (certainty == "weak" or len(value) < 4):
        return len(value) >= _SHORT_NUMBER and certainty == "strong"
    if not found.is_quoted and _is_code(value):
        return False
    if name.lower().endswith("pwd") and _PATH.match(value) is not None:
        return False
    if found.is_sure:
        return certainty == "strong" or looks_random(value)
    return looks_random(value) or (
        certainty == "strong" and _ends_clause(text, found.end) and len(value) >= 5
    )


def _is_code(value: str) -> bool:
    """Tell whether `value` is an expression: tracebacks show lines of code, which name secrets and hold none."""
    if len(value) > 200:
        return False
    return _CODE.match(value) is not None or (value.isidentifier() and certainty_of(value) != "none")


def _ends_clause(text: str, end: int) -> bool:
    return end >= len(text) or text[end] in "\r\n,;)]}|\"'"
