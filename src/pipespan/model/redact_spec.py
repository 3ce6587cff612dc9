"""What `PIPESPAN_REDACT` says: on, off, and what else is to be hidden or left alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pipespan.errors import SettingsError

_REMEDY: Final = (
    "write `on`, `off`, or items such as `key:pin; value:hunter2; regex:CARD-[0-9]+; keep:token_name`"
)
_SEPARATOR: Final = re.compile(r"(?<!\\)[;\n]")
_KINDS: Final = ("key", "value", "regex", "keep")


@dataclass(frozen=True, slots=True, repr=False)
class RedactSpec:
    """What to hide.

    Attributes:
        is_on: whether anything is hidden at all.
        values: texts that are secret wherever they stand.
        patterns: regular expressions; what they match is hidden, of those with a group the group.
        keys: further names whose values are secret, whatever those look like.
        keep: names whose values are not.
    """

    is_on: bool = True
    values: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()
    keys: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


def parse_spec(text: str) -> RedactSpec:
    """Return what the setting says; its values never stand in an error.

    Raises:
        SettingsError: it cannot be understood.
    """
    items = [item.strip().replace("\\;", ";") for item in _SEPARATOR.split(text)]
    items = [item for item in items if item]
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for place, item in enumerate(items, 1):
        if item.lower() in {"on", "off", "1", "0", "true", "false"}:
            if len(items) > 1 and item.lower() in {"off", "0", "false"}:
                raise SettingsError(f"PIPESPAN_REDACT turns redaction off and has other items too; {_REMEDY}")
            continue
        kind, colon, value = item.partition(":")
        if not colon or kind not in found or not value:
            raise SettingsError(f"cannot understand item {place} of PIPESPAN_REDACT; {_REMEDY}")
        found[kind].append(value)
    if any(len(value) < 3 for value in found["value"]):
        raise SettingsError("a value in PIPESPAN_REDACT has fewer than 3 characters; name its key instead")
    is_on = not (items and items[0].lower() in {"off", "0", "false"})
    patterns = tuple(_compiled(text) for text in found["regex"])
    return RedactSpec(is_on, tuple(found["value"]), patterns, tuple(found["key"]), tuple(found["keep"]))


def _compiled(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise SettingsError(f"a regex in PIPESPAN_REDACT cannot be compiled: {error.msg}; mend it") from None
    if pattern.fullmatch("") is not None:
        raise SettingsError(
            "a regex in PIPESPAN_REDACT matches everything; let it match at least one character"
        )
    return pattern
