"""Attributes and texts as they stand in a COPY line, by the bytes in which they came: most come again and again."""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from pipespan.model.attributes import MAX_TEXT_CHARS, plain_text
from pipespan.model.clean import clean_value
from pipespan.model.otelrows import STAMPS
from pipespan.otlp.values import value_of
from pipespan.store.copytext import encode_json, encode_text

if TYPE_CHECKING:
    from pipespan.model.redact import Redactor

MAX_KNOWN: Final = 16_384
"""So many attributes are remembered; those of a program are hundreds, but for numbers and paths."""

MAX_KNOWN_BYTES: Final = 200

_OTHERS: Final = frozenset({"event.name", "error.type", "otel", ""}) | STAMPS
_PREFIXES: Final = ("pipespan.", "cicd.")
_TEXT, _BOOL, _INT, _DOUBLE = 0x0A, 0x10, 0x18, 0x21
_UINT64: Final = 2**64 - 1
_DOUBLE_OF: Final = Struct("<d").unpack_from


class Unusual(Exception):  # noqa: N818 - no error: the long way round is taken
    """What is not read here."""


class Fragments:
    """Remembers texts.

    Args:
        redactor: hides secrets; what is remembered has none.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._look = redactor.look
        self.attributes: dict[bytes, str] = {}
        self._keys: dict[bytes, str] = {}
        self._texts: dict[bytes, str] = {}

    def attribute(self, raw: bytes) -> str:
        """Return `"key":value` of an attribute as it stands in a JSON column of a COPY line.

        Raises:
            Unusual: it has a meaning beyond itself, or cannot be read here.
        """
        known = self.attributes.get(raw)
        if known is None:
            known = self._simple(raw) or self._any(raw)
            if len(raw) <= MAX_KNOWN_BYTES:
                if len(self.attributes) >= MAX_KNOWN:
                    self.attributes.clear()
                self.attributes[raw] = known
        return known

    def text(self, raw: bytes) -> str:
        """Return a text that comes again and again, such as a span's name, without secrets, as a column's text."""
        known = self._texts.get(raw)
        if known is None:
            try:
                known = encode_text(self._redactor.text(plain_text(raw.decode())))
            except UnicodeDecodeError as error:
                raise Unusual from error
            if len(raw) <= MAX_KNOWN_BYTES:
                if len(self._texts) >= MAX_KNOWN:
                    self._texts.clear()
                self._texts[raw] = known
        return known

    def message(self, raw: bytes) -> str:
        """Return the text of an `AnyValue` that is one and has no secrets, as a column's text; it is not remembered."""
        if not raw or raw[0] != _TEXT:
            raise Unusual
        try:
            size, start = raw[1], 2
            if size > 0x7F:
                size, start = size & 0x7F | raw[2] << 7, 3
                if raw[2] > 0x7F:
                    raise Unusual
            text = raw[start:].decode()
        except (IndexError, UnicodeDecodeError) as error:
            raise Unusual from error
        if len(raw) != start + size or self._look(text) is not None:
            raise Unusual
        return text if text.isprintable() and "\\" not in text else encode_text(text)

    def _key(self, raw: bytes) -> str:
        """Return a name with its colon."""
        known = self._keys.get(raw)
        if known is None:
            try:
                key = raw.decode()
            except UnicodeDecodeError as error:
                raise Unusual from error
            if key in _OTHERS or key.startswith(_PREFIXES):
                raise Unusual
            is_secret = self._redactor.is_on and self._redactor.certainty(key) != "none"
            if is_secret or self._look(key) is not None or not key.isprintable() or '"' in key or "\\" in key:
                # Seldom; and what such a name says of its value is looked at in one place only.
                raise Unusual
            known = f'"{key}":'
            if len(self._keys) >= MAX_KNOWN:
                self._keys.clear()
            self._keys[raw] = known
        return known

    def _simple(self, raw: bytes) -> str | None:
        """Read an attribute of the usual kind: a short name and a short text, number or truth value."""
        try:
            if raw[0] != 0x0A or raw[1] > 0x7F:
                return None
            at = 2 + raw[1]
            if raw[at] != 0x12 or raw[at + 1] > 0x7F or len(raw) != at + 2 + raw[at + 1]:
                return None
            name, kind = raw[2:at], raw[at + 2]
            key = self._keys.get(name) or self._key(name)
            if kind == _TEXT:
                text = raw[at + 4 :].decode()
                if (
                    raw[at + 1] != raw[at + 3] + 2
                    or not text.isprintable()
                    or '"' in text
                    or "\\" in text
                    or self._look(text) is not None
                ):
                    return None
                return f'{key}"{text}"'
            if kind == _INT:
                number = _whole(raw, at + 3)
                return None if number is None else f"{key}{number}"
            if kind == _BOOL and len(raw) == at + 4:
                return f"{key}{'true' if raw[at + 3] else 'false'}" if raw[at + 3] < 2 else None
            if kind == _DOUBLE and len(raw) == at + 11:
                value: float = _DOUBLE_OF(raw, at + 3)[0]
                return f"{key}{value!r}" if math.isfinite(value) else None
        except (IndexError, UnicodeDecodeError):
            pass
        return None

    def _any(self, raw: bytes) -> str:
        try:
            pair = KeyValue.FromString(raw)
            key, value = pair.key, clean_value(value_of(pair.value))
        except (DecodeError, RecursionError) as error:
            raise Unusual from error
        if key in _OTHERS or key.startswith(_PREFIXES):
            raise Unusual
        return self.plain(key, value)

    def plain(self, key: str, value: Any) -> str:
        """Return `"key":value` of any value; it is not remembered.

        Raises:
            Unusual: it cannot stand by itself.
        """
        shown = self._redactor.json({key: value})
        text = encode_json(shown)
        if type(shown) is not dict or key not in shown or len(text) > MAX_TEXT_CHARS // 2:
            raise Unusual
        return text[1:-1]


def _whole(raw: bytes, at: int) -> int | None:
    """Return the 64-bit number that stands from `at` to the end."""
    number = shift = 0
    for byte in raw[at:-1]:
        if byte < 0x80:
            return None
        number |= (byte & 0x7F) << shift
        shift += 7
    if raw[-1] > 0x7F or shift > 63 or at >= len(raw):
        return None
    number = (number | raw[-1] << shift) & _UINT64
    return number - 2**64 if number >= 2**63 else number
