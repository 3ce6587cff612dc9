"""Values as both JSON columns and OTLP take them."""

from __future__ import annotations

import math
from typing import Any, Final

from pipespan.model.attributes import jsonable, plain_text

_INT64_BOUND: Final = 2**63


def clean_value(value: Any) -> Any:
    """Return `value` as both JSON and OTLP take it; never raises.

    Strings without lone surrogates, 64-bit integers, finite numbers, lists, and mappings with non-empty keys:
    anything else makes the OTLP encoder refuse a whole batch or the SDK log warnings.
    """
    kind = type(value)
    if kind is str:
        return plain_text(value)
    if kind is bool or value is None:
        return value
    if kind is int:
        return _clean_int(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    return _clean_json(jsonable(value))


def _clean_int(value: int) -> int | str:
    if -_INT64_BOUND <= value < _INT64_BOUND:
        return value
    # Python refuses to print integers of thousands of digits in decimal.
    return str(value) if value.bit_length() < 1024 else hex(value)


def _clean_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key or "(empty)": _clean_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_json(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return _clean_int(value)
    return value
