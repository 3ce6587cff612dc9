"""Any Python value as text or JSON that Postgres takes: readable rather than refused, and bounded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, Final

MAX_TEXT_CHARS: Final = 1_000_000
"""Longest text that one column keeps; a line that is longer is cut and says so."""

MAX_JSON_DEPTH: Final = 32
"""Deepest nesting kept in a JSON column; what lies deeper becomes its `repr`."""

MAX_JSON_ITEMS: Final = 10_000
"""Most items kept of one collection in a JSON column, when it has to be walked."""

MAX_INT_BITS: Final = 10_000
"""Longest integer kept as a number: Python refuses to write out those above 4,300 digits."""

MAX_REPR_CHARS: Final = 1_000
"""Longest `repr` of a value that JSON has no form for."""

_CUT: Final = re.compile(r" \[cut: \d{1,20} characters\]")
_LAST_WORD: Final = re.compile(r"(?<!\S)\S{1,200}\Z|\S{200}\Z")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def _readable(match: re.Match[str]) -> str:
    char = match[0]
    return "\u2400" if char == "\x00" else f"<U+{ord(char):04X}>"


def cut_text(text: str, max_chars: int) -> str:
    """Return the start of a text that is too long, without the word that the cut goes through.

    Half of a password is not known for what it is any more, and would be shown.
    """
    return text if len(text) <= max_chars else _LAST_WORD.sub("", text[:max_chars])


def plain_text(text: str) -> str:
    """Return `text` as Postgres can store it: no NUL, no lone surrogates, not endless."""
    if len(text) > MAX_TEXT_CHARS and not _is_cut(text):
        text = f"{text[:MAX_TEXT_CHARS]} [cut: {len(text)} characters]"
    if text.isprintable():
        return text
    return _UNSTORABLE.sub(_readable, text)


def _is_cut(text: str) -> bool:
    """Tell whether a long text was cut before: what is read and written again must not be cut again."""
    return _CUT.fullmatch(text, MAX_TEXT_CHARS) is not None


def json_text(value: Any) -> str:
    """Return `value` as JSON text that `jsonb` accepts; never raises.

    What JSON has no form for (bytes, sets, NaN, cycles, any object) is stored in a readable one.
    """
    try:
        text = _dumps(value)
    except Exception:  # noqa: BLE001 - a mapping of the user's may raise anything when it is walked
        text = _dumps(jsonable(value))
    if "\\u0000" in text or (not text.isascii() and _UNSTORABLE.search(text) is not None):
        text = _dumps(jsonable(value))
    if len(text) > MAX_TEXT_CHARS:
        return _dumps(
            {"pipespan.cut": f"{len(text)} characters of JSON", "preview": cut_text(text, MAX_REPR_CHARS)}
        )
    return text


def _build_dumps() -> Callable[[Any], str]:
    """Return what makes compact JSON of a value, built once.

    `json.dumps` and `JSONEncoder.encode` build the C encoder anew at each call, which costs more than most of our
    values take to encode. Without markers a cycle ends in RecursionError, which is handled as any other oddity.
    """
    plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return plain.encode
    chunks = make(None, plain.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_dumps: Final = _build_dumps()


def jsonable(value: Any) -> Any:
    """Return `value` rebuilt from what JSON knows; never raises."""
    return _jsonable(value, MAX_JSON_DEPTH, ())


def _jsonable(value: Any, depth: int, outer: tuple[int, ...]) -> Any:
    try:
        return _rebuilt(value, depth, outer)
    except Exception:  # noqa: BLE001 - a user's object may raise anything from any method
        return _short_repr(value)


def _rebuilt(value: Any, depth: int, outer: tuple[int, ...]) -> Any:
    # The base types' own methods, because a subclass may have changed how it becomes text or a number.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(str.__str__(value))
    if isinstance(value, int):
        return (
            int.__int__(value)
            if value.bit_length() <= MAX_INT_BITS
            else f"<int of {value.bit_length()} bits>"
        )
    if isinstance(value, float):
        return float.__float__(value) if math.isfinite(value) else float.__repr__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return plain_text(bytes(value[:MAX_REPR_CHARS]).decode("utf-8", "backslashreplace"))
    if id(value) in outer:
        return "<cycle>"
    if depth == 0:
        return _short_repr(value)
    return _collection(value, depth - 1, (*outer, id(value)))


def _collection(value: Any, depth: int, outer: tuple[int, ...]) -> Any:
    if is_dataclass(type(value)):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_JSON_ITEMS]
        return {_key(key): _jsonable(item, depth, outer) for key, item in pairs}
    if isinstance(value, AbstractSet):
        return sorted((_jsonable(item, depth, outer) for item in list(value)[:MAX_JSON_ITEMS]), key=repr)
    if isinstance(value, list | tuple):
        return [_jsonable(item, depth, outer) for item in value[:MAX_JSON_ITEMS]]
    if hasattr(value, "item") and callable(value.item):  # a number of numpy or a tensor of one element
        return _jsonable(value.item(), depth, outer)
    return _short_repr(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return plain_text(str.__str__(key))
    if key is None or isinstance(key, bool):
        return "null" if key is None else str(key).lower()  # as JSON writes them when it needs no rebuilding
    return _short_repr(key)


def _short_repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<{type(value).__qualname__}: repr failed>"
    return plain_text(cut_text(text, MAX_REPR_CHARS))
