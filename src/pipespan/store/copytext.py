r"""Rows as lines of PostgreSQL's COPY text format, and back.

The spool holds these lines and the shipper streams them into COPY unread, so what stands here must be what
the server accepts: no NUL, valid UTF-8, backslash, tab and line ends escaped, `\N` for null
(PostgreSQL documentation, COPY, "Text Format").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeVar, cast

from pipespan.model.attributes import MAX_TEXT_CHARS, json_text, plain_text
from pipespan.model.rows import ROW_TYPES, Row, RowType

RowT = TypeVar("RowT")
Encoder = Callable[[Any], str]
Decoder = Callable[[str], Any]

NULL: Final = r"\N"
_TO_ESCAPE: Final = re.compile(r"[\\\n\r\t]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
# timestamptz holds 4713 BC to 294276 AD, datetime the years 1 to 9999: beyond them a clock is broken.
_MIN_UNIX_S: Final = -62_135_596_800
_MAX_UNIX_S: Final = 253_402_300_799


def _escape(text: str) -> str:
    if _TO_ESCAPE.search(text) is None:
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _UNESCAPES.get(match[1], match[1]), text)


def _encode_text(value: str) -> str:
    if value.isprintable() and "\\" not in value and len(value) <= MAX_TEXT_CHARS:
        return value
    return _escape(plain_text(value))


@lru_cache(maxsize=16)
def _second_text(unix_s: int) -> str:
    moment = _EPOCH + timedelta(seconds=min(max(unix_s, _MIN_UNIX_S), _MAX_UNIX_S))
    return moment.replace(tzinfo=None).isoformat(sep=" ")


def _encode_time(unix_ns: int) -> str:
    # Most rows come in the same second, whose text is kept.
    return f"{_second_text(unix_ns // 1_000_000_000)}.{unix_ns % 1_000_000_000 // 1000:06d}+00"


def _encode_json(value: Any) -> str:
    return _escape(json_text(value)) if value else "{}"


def _encode_array(value: Sequence[str]) -> str:
    items = (plain_text(str(item)).replace("\\", "\\\\").replace('"', '\\"') for item in value)
    return _escape("{" + ",".join(f'"{item}"' for item in items) + "}")


def _encode_float(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _decode_time(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("+00", "+00:00"))
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


_ARRAY_ITEM: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _decode_array(text: str) -> tuple[str, ...]:
    items = _ARRAY_ITEM.findall(_unescape(text))
    return tuple(re.sub(r"\\(.)", r"\1", item, flags=re.DOTALL) for item in items)


_KINDS: Final[dict[str, tuple[Encoder, Decoder]]] = {
    "str": (_encode_text, _unescape),
    "Uuid": (str, str),
    "Status": (str, str),
    "NodeLevel": (str, str),
    "LogLevel": (str, str),
    "int": (str, int),
    "float": (_encode_float, float),
    "UnixNs": (_encode_time, _decode_time),
    "Json": (_encode_json, lambda text: json.loads(_unescape(text))),
    "TextArray": (_encode_array, _decode_array),
}


class _Codec:
    """Encodes and decodes one row type, by the annotations of its fields."""

    def __init__(self, row_type: RowType) -> None:
        kinds = [str(field.type).removesuffix(" | None") for field in fields(row_type)]
        self._build: Callable[..., Any] = row_type
        self._encoders = tuple(_KINDS[kind][0] for kind in kinds)
        self._decoders = tuple(_KINDS[kind][1] for kind in kinds)
        self._values = attrgetter(*(field.name for field in fields(row_type)))

    def encode(self, row: Row) -> bytes:
        values = self._values(row)
        line = "\t".join(
            [NULL if value is None else encode(value) for encode, value in zip(self._encoders, values)]  # noqa: B905 - one comes from the other, and this is the hottest line of all
        )
        return f"{line}\n".encode()

    def decode(self, line: bytes) -> Any:
        values = line.decode().removesuffix("\n").split("\t")
        return self._build(
            *(
                None if value == NULL else decode(value)
                for decode, value in zip(self._decoders, values, strict=True)
            )
        )


_CODECS: Final[dict[type, _Codec]] = {row_type: _Codec(row_type) for row_type in ROW_TYPES}


def encode_row(row: Row) -> bytes:
    """Return `row` as one COPY line, ended by a newline; odd values are made readable, never refused."""
    return _CODECS[type(row)].encode(row)


def decode_line(row_type: type[RowT], line: bytes) -> RowT:
    """Return the row of a COPY line that `encode_row` made.

    Raises:
        ValueError: the line is not one of `row_type`.
    """
    return cast(RowT, _CODECS[row_type].decode(line))
