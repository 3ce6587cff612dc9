r"""Rows as lines of PostgreSQL's COPY text format, and back.

The spool holds these lines and the shipper streams them into COPY unread, so what stands here must be what
the server accepts: no NUL, valid UTF-8, backslash, tab and line ends escaped, `\N` for null
(PostgreSQL documentation, COPY, "Text Format").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from pipespan.model.attributes import MAX_TEXT_CHARS, json_text, plain_text
from pipespan.model.rows import ROW_TYPES, Row, RowType, SpanNote, column_kinds

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


def encode_text(value: str) -> str:
    """Return text as COPY takes it, without what Postgres cannot store."""
    if value.isprintable() and "\\" not in value and len(value) <= MAX_TEXT_CHARS:
        return value
    return _escape(plain_text(value))


_MIN_19_DIGITS: Final = 10**18
_MAX_19_DIGITS: Final = 10**19 - 1
"""The years 2001 to 2286."""


@lru_cache(maxsize=16)
def _second_text(unix_s: int) -> str:
    moment = _EPOCH + timedelta(seconds=min(max(unix_s, _MIN_UNIX_S), _MAX_UNIX_S))
    return moment.replace(tzinfo=None).isoformat(sep=" ")


@lru_cache(maxsize=16)
def _text_of_digits(unix_s: str) -> str:
    return f"{_second_text(int(unix_s))}."


def encode_time(unix_ns: int) -> str:
    """Return a wall time as COPY takes a `timestamptz`, in microseconds."""
    # Most rows come in the same second, whose text is kept; and cutting digits costs half of what dividing does.
    if _MIN_19_DIGITS <= unix_ns <= _MAX_19_DIGITS:
        digits = str(unix_ns)
        return f"{_text_of_digits(digits[:10])}{digits[10:16]}+00"
    return f"{_second_text(unix_ns // 1_000_000_000)}.{unix_ns % 1_000_000_000 // 1000:06d}+00"


class PreparedJson(dict[str, Any]):
    """A JSON object that stands in many rows and is never changed, with its COPY text made once."""

    __slots__ = ("copy_text",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.copy_text = encode_json(dict(values))


def encode_json(value: Any) -> str:
    """Return a value as COPY takes a `jsonb`; never raises."""
    if type(value) is PreparedJson:
        return value.copy_text
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
    "str": (encode_text, _unescape),
    "Uuid": (str, str),
    "Status": (str, str),
    "NodeLevel": (str, str),
    "LogLevel": (str, str),
    "int": (str, int),
    "float": (_encode_float, float),
    "UnixNs": (encode_time, _decode_time),
    "Json": (encode_json, lambda text: json.loads(_unescape(text))),
    "TextArray": (_encode_array, _decode_array),
}


_AS_IT_IS: Final = "{v}"
_CALL: Final = "{encode}({v})"
_PREPARED: Final = "({v}.copy_text if type({v}) is PreparedJson else {encode}({v}))"


def _compile(row_type: RowType) -> Callable[[Row], bytes]:
    """Return the encoder of a row type, written out as two expressions.

    Rows are encoded on the user's time. A loop that calls one function for each column takes twice as long, and
    six encoders by hand could not be kept in step with the rows. Nothing but our own field names is compiled.

    Text that stands for itself, as nearly all does, is told for all columns at once, by three scans in C.
    """
    names: dict[str, Any] = {
        "NULL": NULL, "BACKSLASH": "\\", "MAX_TEXT_CHARS": MAX_TEXT_CHARS, "PreparedJson": PreparedJson
    }  # fmt: skip
    values: list[str] = []
    texts: list[str] = []
    plain: list[str] = []
    careful: list[str] = []
    for index, (kind, is_nullable) in enumerate(column_kinds(row_type)):
        encoder, value, encode = _KINDS[kind][0], f"v{index}", f"encode_{index}"
        names[encode] = encoder
        values.append(value)
        if encoder is encode_text:
            texts.append(f"{{{value}}}")
        form = _AS_IT_IS if encoder is str else _PREPARED if encoder is encode_json else _CALL
        call = form.format(v=value, encode=encode)
        for line, part in ((plain, value if encoder is encode_text else call), (careful, call)):
            line.append(f"{{NULL if {value} is None else {part}}}" if is_nullable else f"{{{part}}}")
    exec(_ENCODER.format(  # noqa: S102 - see above
        values=", ".join(values), texts="".join(texts), plain="\\t".join(plain), careful="\\t".join(careful)
    ), names)  # fmt: skip
    return cast("Callable[[Row], bytes]", names["encode"])


_ENCODER: Final = """
def encode(row):
    {values} = row
    texts = f'{texts}'
    if texts.isprintable() and BACKSLASH not in texts and len(texts) <= MAX_TEXT_CHARS:
        return f'{plain}\\n'.encode()
    return f'{careful}\\n'.encode()
"""


_ENCODERS: Final[dict[type, Callable[[Row], bytes]]] = {
    row_type: _compile(row_type) for row_type in ROW_TYPES
}
_DECODERS: Final[dict[type, tuple[Decoder, ...]]] = {
    row_type: tuple(_KINDS[kind][1] for kind, _ in column_kinds(row_type)) for row_type in ROW_TYPES
}


def encode_row(row: Row) -> bytes:
    """Return `row` as one COPY line, ended by a newline; odd values are made readable, never refused."""
    return _ENCODERS[type(row)](row)


def encode_rows(rows: Iterable[Row]) -> dict[RowType, list[bytes]]:
    """Return `rows` as lines (`encode_row`), by table and in their order: the lines of a `Batch`."""
    lines: dict[RowType, list[bytes]] = {}
    for row in rows:
        lines.setdefault(type(row), []).append(encode_row(row))
    return lines


def decode_line(row_type: type[RowT], line: bytes) -> RowT:
    """Return the row of a COPY line that `encode_row` made.

    Raises:
        ValueError: the line is not one of `row_type`.
    """
    values = line.decode().removesuffix("\n").split("\t")
    decoded = [
        None if value == NULL else decode(value)
        for decode, value in zip(_DECODERS[row_type], values, strict=True)
    ]
    return row_type(*decoded)


def encode_span(note: SpanNote) -> bytes:
    """Return a span that is noted as one COPY line; its ids are hex digits and stand for themselves."""
    experiment_id, span_id, parent_span_id, is_node = note
    above = NULL if parent_span_id is None else parent_span_id
    return f"{experiment_id}\t{span_id}\t{above}\t{'t' if is_node else 'f'}\n".encode()


def decode_span(line: bytes) -> SpanNote:
    """Return the span of a line that `encode_span` made.

    Raises:
        ValueError: it is no such line.
    """
    experiment_id, span_id, above, is_node = line.decode().removesuffix("\n").split("\t")
    return SpanNote(experiment_id, span_id, None if above == NULL else above, is_node == "t")
