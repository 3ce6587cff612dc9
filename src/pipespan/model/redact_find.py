"""Finding secrets in a text by what stands around them: names, addresses, headers. Pure, in linear time."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import Final

from pipespan.model.redact_names import Certainty, certainty_of
from pipespan.model.redact_values import (
    Value,
    is_placeholder,
    is_secret_value,
    looks_random,
    read_value,
    xml_value,
)

Span = tuple[int, int, str]
"""Start, end and the rule that found it."""

CORES: Final = (
    "password", "passwd", "pwd", "passphrase", "passcode", "secret", "token", "credential", "key", "cookie",
    "authorization", "jwt",
)  # fmt: skip
"""One of these stands in every telling name."""

NAME_REACH: Final = 48
"""So far around its core a name is looked at."""

_NAME_HEAD: Final = re.compile(r"[A-Za-z0-9_.\-]*\Z")
_NAME_TAIL: Final = re.compile(rf"[A-Za-z0-9_\-]{{0,{NAME_REACH}}}")
_SPACED_KEY: Final = re.compile(
    r"(?:api|access|secret|private|auth|account|signing|encryption) \Z", re.IGNORECASE
)
_ASSIGNS: Final = re.compile(r"""(\\{0,8}["'`])?([\])])?([ \t]{0,8})(:=|=>|===?|=|:)(\s{0,8})""")
_PAIRS: Final = re.compile(r"""\\{0,8}["'],[ \t]{0,8}(?=[bru]?\\{0,8}["'])""")
_SPACES: Final = re.compile(r"[ \t]{1,8}")
_QUOTE_NEXT: Final = re.compile(r"""\s{1,8}(?=["'])""")
_FLAG_NOT: Final = re.compile(r"-|\\?\n")
_BEARER: Final = re.compile(r"\bbearer(?:[\s:=]{1,4}|%20)([A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_BASIC: Final = re.compile(r"\bbasic(?:\s{1,4}|%20)([A-Za-z0-9+/_-]{6,}={0,2})", re.IGNORECASE)
_SQL: Final = re.compile(r"\bidentified\s{1,4}by\s{1,4}(?:password\s{1,4})?(?=[\"'])", re.IGNORECASE)
_USER_OPTION: Final = re.compile(
    r"""(?:^|\s)(?:-u|--user|--proxy-user|-U)[ =]["']?[^\s:"'=/]{1,80}:([^\s"']+)"""
)
_MYSQL_DSN: Final = re.compile(r"(?<![\w/])[\w.-]{1,64}:([^\s:@/]{1,200})@(?:tcp|unix)\(")
_SIGNED: Final = re.compile(
    r"[?&](?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature|code)=([A-Za-z0-9%+/=_.~-]{16,})",
    re.IGNORECASE,
)


def core_pattern(extra: tuple[str, ...] = ()) -> re.Pattern[str]:
    """Return what finds the cores of telling names, `extra` ones included."""
    return re.compile("|".join(re.escape(core) for core in (*extra, *CORES)), re.IGNORECASE)


def named_values(
    text: str, cores: re.Pattern[str], judge: Callable[[str], Certainty], *, is_command: bool = False
) -> Iterator[Span]:
    """Find the values of telling names: `name=value`, JSON, `--name value`, `name: value`, XML, SQL."""
    place, length = 0, len(text)
    while place < length:
        core = cores.search(text, place)
        if core is None:
            return
        start, end, name = _name_around(text, core)
        place = max(end, core.end())
        certainty = judge(name)
        if certainty == "none":
            continue
        found = _value_after(text, start, end, name, certainty, is_command=is_command)
        if found is not None and found.end > found.start:
            place = max(place, found.end)
            yield found.start, found.end, f"name {name.strip('-')[:NAME_REACH]}"


def _name_around(text: str, core: re.Match[str]) -> tuple[int, int, str]:
    left = max(0, core.start() - NAME_REACH)
    head = _NAME_HEAD.search(text, left, core.start())
    tail = _NAME_TAIL.match(text, core.end())
    start = core.start() if head is None else head.start()
    end = core.end() if tail is None else tail.end()
    if core[0].lower() == "key" and start == core.start():
        spaced = _SPACED_KEY.search(text, max(0, start - 12), start)
        start = start if spaced is None else spaced.start()
    name = text[start:end]
    # A line end written out is no part of a name: `\npassword`.
    if start and text[start - 1] == "\\" and name[:1] in "nrt" and certainty_of(name) == "none":
        start, name = start + 1, name[1:]
    return start, end, name


def _value_after(
    text: str, start: int, end: int, name: str, certainty: Certainty, *, is_command: bool
) -> Value | None:
    before = text[start - 1] if start else ""
    if before == "<" and text.startswith(">", end):
        return _kept(text, name, certainty, xml_value(text, end + 1))
    assigns = _ASSIGNS.match(text, end)
    if assigns is not None:
        is_sure = assigns[4] != ":" or assigns[1] is not None or not assigns[5]
        return _kept(text, name, certainty, read_value(text, assigns.end(), name, is_sure=is_sure))
    if name.startswith("-") and not _FLAG_NOT.match(text, end):
        return _after_flag(text, end, name, certainty, is_command=is_command)
    pairs = _PAIRS.match(text, end)
    if pairs is not None and text[max(0, start - 10) : start].rstrip("\\\"'bru").endswith("("):
        return _kept(text, name, certainty, read_value(text, pairs.end(), name, is_sure=True))
    quote = _QUOTE_NEXT.match(text, end)
    if quote is not None and certainty == "strong":
        return _kept(text, name, certainty, read_value(text, quote.end(), name, is_sure=True))
    return None


def _after_flag(text: str, end: int, name: str, certainty: Certainty, *, is_command: bool) -> Value | None:
    space = _SPACES.match(text, end)
    if space is None or text.startswith("-", space.end()):
        return None
    found = read_value(text, space.end(), name, is_sure=True)
    if is_command and found is not None and not is_placeholder(text[found.start : found.end]):
        return found
    return _kept(text, name, certainty, found)


def _kept(text: str, name: str, certainty: Certainty, found: Value | None) -> Value | None:
    if found is None or not is_secret_value(text, name, certainty, found):
        return None
    return found


def addresses(text: str) -> Iterator[Span]:
    """Find the password parts of addresses, and a token that stands in place of a user."""
    place = text.find("://")
    while place >= 0:
        start = place + 3
        end = _authority_end(text, start)
        at = text.rfind("@", start, end)
        if at > start:
            colon = text.find(":", start, at)
            if colon >= 0 and not is_placeholder(text[colon + 1 : at]):
                yield colon + 1, at, "address"
            elif (
                colon < 0 and at - start >= 20 and looks_random(text[start:at]) and "@" not in text[start:at]
            ):
                yield start, at, "address"
        place = text.find("://", end)


_AUTHORITY: Final = re.compile(r"""[^\s"'<>`/?#]*""")
_AUTHORITY_LOOSE: Final = re.compile(r"""[^\s"'<>`]*""")
_DATABASES: Final = re.compile(
    r"(?:postgres|postgresql|mysql|mariadb|mongodb|redis|rediss|amqps?|mssql|oracle|clickhouse|snowflake|cockroachdb|kafka)"
    r"(?:\+\w{1,20})?://\Z",
    re.IGNORECASE,
)


def _authority_end(text: str, start: int) -> int:
    """Return where user, password and host end. Passwords in addresses of databases often are not encoded."""
    found = _AUTHORITY.match(text, start)
    end = start if found is None else found.end()
    if text.find("@", start, end) < 0 and _DATABASES.search(text, max(0, start - 40), start) is not None:
        again = text.find("://", start)
        loose = _AUTHORITY_LOOSE.match(text, start, len(text) if again < 0 else again)
        stop = end if loose is None else loose.end()
        colon = text.find(":", start, end)
        is_port = colon >= 0 and text[colon + 1 : end].isdigit()
        if colon >= 0 and not is_port and text.find("@", end, stop) >= 0:
            return stop
    return end


def headers(text: str) -> Iterator[Span]:
    """Find credentials in HTTP headers, signed addresses, SQL and options that hold a user and a password."""
    low = text.lower()
    if "bearer" in low:
        yield from ((*match.span(1), "bearer") for match in _BEARER.finditer(text) if looks_random(match[1]))
    if "basic" in low:
        yield from ((*match.span(1), "basic") for match in _BASIC.finditer(text) if _is_basic(match[1]))
    if "identified" in low:
        for match in _SQL.finditer(text):
            found = read_value(text, match.end(), "password", is_sure=True)
            if found is not None:
                yield found.start, found.end, "sql"
    if "@tcp(" in low or "@unix(" in low:
        yield from _first_groups(_MYSQL_DSN, text, "address")
    if "curl" in low:
        yield from _first_groups(_USER_OPTION, text, "user option")
    if "?" in low or "&" in low:
        yield from _first_groups(_SIGNED, text, "signed address")


def _first_groups(pattern: re.Pattern[str], text: str, rule: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if not is_placeholder(match[1]) and not match[1].isdigit():
            yield match.start(1), match.end(1), rule


def _is_basic(encoded: str) -> bool:
    """Tell whether it is `user:password`, cut at the end maybe, and not the next word of a sentence."""
    bare = encoded.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        decoded = base64.b64decode(bare[: len(bare) // 4 * 4])
    except ValueError:
        return False
    return b":" in decoded or (encoded.endswith("=") and looks_random(encoded))
