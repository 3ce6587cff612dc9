"""Records as JSON: what `--json` prints and what scripts stand on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Final

# JSON allows these as they are, but a terminal obeys the C1 controls, editors obey the bidirectional ones, nobody
# sees the invisible ones, some tools take U+2028 for the end of the line, and a lone surrogate cannot be written out.
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def to_json(value: Any) -> Any:
    """Return a record, or anything made of records, as JSON knows it.

    Times become ISO 8601 in UTC, decimals numbers, what is not a finite number null, dataclasses objects
    with their field names as keys.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, datetime):
        return iso_utc(value)
    return _compound(value)


def _compound(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return str(value)


def json_line(value: Any, *, ascii_only: bool = False) -> str:
    """Return `value` as one line of JSON that is safe to print on a terminal."""
    text = json.dumps(to_json(value), ensure_ascii=ascii_only, allow_nan=False)
    return _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text)


def iso_utc(moment: datetime) -> str:
    """Return `moment` as ISO 8601 in UTC, always with microseconds, so that such texts sort as times do."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _number(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)
