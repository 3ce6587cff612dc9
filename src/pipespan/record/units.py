"""Numbers that users give as progress, as whole units that the table can hold."""

from __future__ import annotations

from typing import Any, Final

from pipespan.errors import UsageError

MAX_UNITS: Final = 2**63 - 1
"""What the column takes."""

ODD_KEY: Final = "odd_progress"
"""Where a node's metadata has the numbers that are none."""

_MAX_ODDITIES: Final = 10
_MAX_ODD_CHARS: Final = 40


def units_of(value: float | None, metadata: dict[str, Any], *, signed: bool = False) -> int | None:
    """Return `value` as whole units; what is none (NaN, negative) is noted in `metadata` and left out.

    Raises:
        UsageError: it is no number.
    """
    if value is None:
        return None
    if isinstance(value, str | bytes | bytearray):  # which `int` would read
        raise _no_number(value)
    try:
        units = int(value)
    except (ValueError, OverflowError):  # NaN and infinity
        units = None
    except TypeError as error:
        raise _no_number(value) from error
    if units is None or (units < 0 and not signed) or not -MAX_UNITS - 1 <= units <= MAX_UNITS:
        _note(value, metadata)
        return None if units is None else max(min(units, MAX_UNITS), 0)
    return units


def _no_number(value: Any) -> UsageError:
    return UsageError(f"progress takes a number, not {value!r}; count units, such as items done")


def _note(value: float, metadata: dict[str, Any]) -> None:
    odd = metadata.setdefault(ODD_KEY, [])
    if isinstance(odd, list) and len(odd) < _MAX_ODDITIES:
        try:
            odd.append(
                value if type(value) is int and abs(value) <= MAX_UNITS else str(value)[:_MAX_ODD_CHARS]
            )
        except ValueError:  # a whole number that is longer than Python is willing to write down
            odd.append("huge")
