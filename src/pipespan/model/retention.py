"""How long rows are kept: the rules, and how people write them; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pipespan.errors import UsageError

GIGABYTE: Final = 10**9
"""Sizes are told and set in powers of ten."""

_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}
_AGE: Final = re.compile(r"(\d{1,6})\s*([hdwy])")
_SIZE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(MB|GB|TB)?", re.IGNORECASE)
_BYTES: Final = {"MB": 10**6, "GB": GIGABYTE, "TB": 10**12}
_AGE_REMEDY: Final = "write a number and its unit, as 12h, 30d, 4w or 1y"
_RULES_REMEDY: Final = "write `on`, `off`, or rules such as logs=30d,rest=180d,size=10GB"


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of a database; None limits nothing.

    Attributes:
        mild_days: logs below ERROR go after so many days.
        rest_days: everything goes after so many days.
        max_bytes: the oldest rows go while all tables together are larger.
    """

    mild_days: int | None = None
    rest_days: int | None = None
    max_bytes: int | None = None


DEFAULT_RETENTION: Final = Retention(mild_days=30, rest_days=180, max_bytes=10 * GIGABYTE)
"""What holds in the embedded database where nothing else was set."""


def parse_age(text: str) -> timedelta:
    """Return the age that `text` means: `12h`, `30d`, `4w`, `1y`.

    Raises:
        UsageError: it cannot be understood.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"cannot understand the age {text!r}; {_AGE_REMEDY}")
    hours = int(match[1]) * _HOURS[match[2]]
    if hours > 1000 * _HOURS["y"]:
        raise UsageError(f"the age {text!r} is longer than a thousand years; {_AGE_REMEDY}")
    return timedelta(hours=hours)


def parse_size(text: str) -> int:
    """Return the bytes that `text` means: `10GB`, `500MB`, a bare number being gigabytes.

    Raises:
        UsageError: it cannot be understood.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"cannot understand the size {text!r}; write a number and its unit, as 10GB or 500MB"
        )
    return round(float(match[1]) * _BYTES[(match[2] or "GB").upper()])


def parse_retention(text: str) -> Retention | None:
    """Return the rules that `text` means, None for `off`; what it does not name is not limited.

    Raises:
        UsageError: it cannot be understood.
    """
    words = text.strip().lower()
    if words == "off":
        return None
    if words == "on":
        return DEFAULT_RETENTION
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        key = {"logs": "mild_days", "rest": "rest_days", "size": "max_bytes"}.get(name.lower())
        if key is None or not value or key in found:
            raise UsageError(f"cannot understand the retention {text!r}; {_RULES_REMEDY}")
        found[key] = parse_size(value) if key == "max_bytes" else _whole_days(value)
    return Retention(**found)


def _whole_days(text: str) -> int:
    age = parse_age(text)
    if age % timedelta(days=1) or not age:
        raise UsageError(f"rows are kept for whole days, not for {text!r}; write a number of days from 1d on")
    return age.days


def retention_to_json(rules: Retention | None) -> dict[str, Any]:
    """Return what is stored of the rules; an empty object for none."""
    if rules is None:
        return {}
    return {"mild_days": rules.mild_days, "rest_days": rules.rest_days, "max_bytes": rules.max_bytes}


def retention_from_json(value: Any) -> Retention | None:
    """Return the rules that were stored; None for none, and for what nobody can have meant."""
    if not isinstance(value, Mapping):
        return None
    numbers = {name: value.get(name) for name in ("mild_days", "rest_days", "max_bytes")}
    if any(one is not None and (type(one) is not int or one < 1) for one in numbers.values()):
        return None
    return Retention(**numbers) if any(one is not None for one in numbers.values()) else None
