"""Values that are known to be secret, and how they look once they were encoded."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from pipespan.model.redact_find import addresses, core_pattern, named_values
from pipespan.model.redact_names import certainty_of, is_secret_variable
from pipespan.model.redact_values import is_placeholder, looks_random

MIN_CHARS: Final = 6
"""A shorter value of the environment is not hidden wherever it stands: it would blacken half the log."""

MAX_KNOWN: Final = 500
"""So many values are looked for at most."""

_COMMON: Final = frozenset({
    "password", "passwd", "secret", "secrets", "changeme", "change-me", "postgres", "postgresql", "localhost",
    "default", "example", "admin", "administrator", "guest", "public", "private", "token", "string",
    "disabled", "enabled", "production", "development", "staging", "testing", "master", "pipespan",
    "pipeline", "database", "redacted", "hidden", "unknown", "username", "root", "user", "testtest",
    "rabbitmq", "mongodb", "mysql", "redis", "minioadmin", "airflow", "python", "basic", "bearer", "keyring",
    "system", "request", "session", "memory", "progress", "completed", "running", "failed", "experiment",
    "message", "metadata", "process", "network", "service", "server", "client", "worker", "training",
})  # fmt: skip
_LIKE_A_NAME: Final = re.compile(r"[a-z]+(?:[_.-][a-z]+)*|[A-Z]+(?:[_.-][A-Z]+)*|[A-Z][a-z]+")
_LIKE_A_PLACE: Final = re.compile(r"(?:[/~]|\./|[A-Za-z]:[\\/]|[a-z][a-z0-9+.-]*://)")
_DIGITS: Final = re.compile(r"[0-9.,:-]+")
_SHORT_DIGITS: Final = 10
_SHORT_WORD: Final = 12
_MIN_FRAGMENT: Final = 4
_BASE64_FORMS: Final = 4
_HEADERS: Final = re.compile(r"OTEL_EXPORTER_OTLP_(?:[A-Z]+_)?HEADERS")


def known_secrets(environ: Mapping[str, str], dsns: Iterable[str | None]) -> tuple[str, ...]:
    """Return the values in `environ` and in addresses of databases that are secrets, each once."""
    found: dict[str, None] = {}
    for dsn in dsns:
        found.update(dict.fromkeys(one for one in passwords_of(dsn or "") if len(one) > 3))
    plain = {value for name, value in environ.items() if name in {"USER", "LOGNAME", "HOSTNAME", "HOME"}}
    for name, value in environ.items():
        found.update(dict.fromkeys(one for one in _of_variable(name, value) if one not in plain))
    return tuple(found)[:MAX_KNOWN]


def passwords_of(address: str) -> list[str]:
    """Return the passwords in a URL or a conninfo string, as they stand there and decoded."""
    spans = [*addresses(address), *named_values(address, core_pattern(), certainty_of)]
    found = [address[start:end] for start, end, _ in spans]
    found += [unquote(one) for one in found]
    return [one for one in dict.fromkeys(found) if one.lower() not in _COMMON and not is_placeholder(one)]


def _of_variable(name: str, value: str) -> list[str]:
    found = [one for one in passwords_of(value) if len(one) >= MIN_CHARS]
    if _HEADERS.fullmatch(name):
        found += [_header_value(part) for part in value.split(",")]
    elif is_secret_variable(name) and is_telling(name, value.strip()):
        found.append(value.strip())
    return [one for one in found if len(one) >= MIN_CHARS]


def _header_value(part: str) -> str:
    value = unquote(part.partition("=")[2]).strip()
    return value.rpartition(" ")[2]


def is_telling(name: str, value: str) -> bool:
    """Tell whether `value` of the secret variable `name` can be hidden wherever it stands."""
    if len(value) < MIN_CHARS or value.lower() in _COMMON or is_placeholder(value):
        return False
    if _LIKE_A_PLACE.match(value) is not None or (_DIGITS.fullmatch(value) and len(value) < _SHORT_DIGITS):
        return False
    if certainty_of(name) == "strong" and name.lower().endswith(
        ("password", "passwd", "pwd", "passphrase", "pass")
    ):
        return True
    return looks_random(value) and (len(value) >= 32 or _LIKE_A_NAME.fullmatch(value) is None)


def variants(value: str) -> tuple[str, ...]:
    """Return how `value` may stand in a text: as it is, in JSON, in an address, in base64, in a `repr`."""
    in_json = json.dumps(value)[1:-1]
    coded = value.encode("utf-8", "surrogateescape")
    forms = [
        value, in_json, in_json.replace("/", "\\/"), json.dumps(value, ensure_ascii=False)[1:-1],
        quote(coded, safe=""), quote(coded), quote_plus(coded), quote(coded, safe="").lower(), repr(value)[1:-1],
    ]  # fmt: skip
    coded64 = [base64.b64encode(coded).decode(), base64.urlsafe_b64encode(coded).decode()]
    return tuple(dict.fromkeys((*forms, *coded64, *(form.rstrip("=") for form in coded64))))


def fragments(value: str) -> list[str]:
    """Return texts of which one stands wherever `value` stands in one of its forms."""
    pieces = re.findall(r"[A-Za-z0-9_.-]+", value)
    longest = max(pieces, key=len, default="")
    if len(longest) < _MIN_FRAGMENT:
        return list(variants(value))
    return [longest, *variants(value)[-_BASE64_FORMS:]]


def known_pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds all forms of `values`; None when there are none."""
    forms = {form for value in values for form in variants(value)}
    if not forms:
        return None
    return re.compile("|".join(_bounded(form) for form in sorted(forms, key=lambda form: (-len(form), form))))


def _bounded(form: str) -> str:
    # A password that is a plain word is hidden as a word, and not inside of other words.
    if len(form) < _SHORT_WORD and _LIKE_A_NAME.fullmatch(form) is not None:
        return rf"(?<![A-Za-z]){re.escape(form)}(?![A-Za-z])"
    return re.escape(form)
