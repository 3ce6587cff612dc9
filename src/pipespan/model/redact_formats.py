r"""Secrets that are known by their shape: tokens that begin in a way of their own, private keys.

A pattern takes a shortened token too, so that one that was cut in half is hidden all the same. None of them needs
anything behind the token, so that each costs time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

_ALONE: Final = r"(?:(?<![A-Za-z0-9_-]{first})|(?<=\\[nrt]{first}))"
"""Not in the middle of a word; `\\n` written out is no word. It stands behind the first letter."""

_AFTER_DIGITS: Final = "(?<=[0-9]{{8}}{first})"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of token.

    Attributes:
        rule: what `pipespan redact-test` calls it.
        start: the text that every such token begins with.
        rest: a pattern for what follows the start.
        before: a pattern for what has to stand before the token.
    """

    rule: str
    start: str
    rest: str
    before: str = ""


_WORD: Final = r"[A-Za-z0-9]{10,}"
_DASHED: Final = r"[A-Za-z0-9_-]{10,}"
_HEX: Final = r"[0-9a-fA-F]{16,}"
_RANDOM: Final = r"(?=[A-Za-z_-]{0,200}[0-9])(?=[a-z0-9_-]{0,200}[A-Z])[A-Za-z0-9_-]{20,}"

FORMATS: Final[tuple[Format, ...]] = (
    *(Format("aws", start, r"[A-Z0-9]{12,}") for start in ("AKIA", "ASIA", "ABIA", "ACCA")),
    *(Format("github", f"gh{kind}_", _DASHED) for kind in "pousr"),
    Format("github", "github_pat_", _DASHED),
    *(
        Format("gitlab", start, _DASHED)
        for start in ("glpat-", "gldt-", "glptt-", "glrt-", "glcbt-", "glft-", "glsoat-", "gloas-")
    ),
    *(Format("slack", f"xox{kind}-", _DASHED) for kind in "abcdeoprs"),
    Format("slack", "xapp-", _DASHED),
    Format("slack", "hooks.slack.com/services/", r"[A-Za-z0-9/_+-]{10,}"),
    Format("discord", "/api/webhooks/", r"[0-9]{5,}/[A-Za-z0-9_-]{10,}"),
    Format("google", "AIza", r"[A-Za-z0-9_-]{16,}"),
    Format("google", "ya29.", r"[A-Za-z0-9_.-]{10,}"),
    Format("google", "GOCSPX-", _DASHED),
    *(
        Format("stripe", f"{kind}_{mode}_", _WORD)
        for kind in ("sk", "rk")
        for mode in ("live", "test", "prod")
    ),
    Format("stripe", "whsec_", r"[A-Za-z0-9+/=]{10,}"),
    *(Format("model provider", start, r"[A-Za-z0-9_-]{10,}", _ALONE) for start in (
        "sk-ant-", "sk-proj-", "sk-svcacct-", "sk-or-", "gsk_", "xai-", "nvapi-", "pplx-", "tvly-", "r8_"
    )),
    Format("model provider", "sk-", _RANDOM, _ALONE),
    Format("model provider", "hf_", r"[A-Za-z0-9]{24,}", _ALONE),
    Format("jwt", "eyJ", r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)*", _ALONE),
    Format("package registry", "npm_", r"[A-Za-z0-9]{30,}"),
    Format("package registry", "pypi-AgE", r"[A-Za-z0-9_-]{10,}"),
    Format("package registry", "rubygems_", _HEX),
    Format("package registry", "dckr_pat_", _DASHED),
    Format("cloud", "dop_v1_", _HEX),
    Format("cloud", "dapi", r"[0-9a-f]{32}(?:-[0-9])?", _ALONE),
    Format("cloud", "hvs.", r"[A-Za-z0-9_-]{20,}", _ALONE),
    Format("cloud", "SG.", r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{10,}", _ALONE),
    *(Format("shop", f"shp{kind}_", _HEX) for kind in ("at", "ca", "pa", "ss")),
    Format("shop", "sq0atp-", _DASHED),
    Format("shop", "sq0csp-", _DASHED),
    Format("service", "lin_api_", _DASHED),
    Format("service", "sntrys_", r"[A-Za-z0-9_=+/-]{10,}"),
    Format("service", "NRAK-", r"[A-Z0-9]{16,}"),
    Format("service", "PMAK-", r"[0-9a-f-]{16,}"),
    Format("service", "lsv2_pt_", r"[0-9a-f_]{16,}"),
    Format("service", "ATATT3", r"[A-Za-z0-9_=-]{20,}"),
    Format("service", "AGE-SECRET-KEY-1", r"[0-9A-Z]{10,}"),
    Format("service", ":AA", r"[A-Za-z0-9_-]{33}", _AFTER_DIGITS),
)  # fmt: skip


@cache
def _pattern() -> re.Pattern[str]:
    """Return one pattern for all; alternatives that begin with a plain letter each are skipped over in C.

    To compile it takes a hundredth of a second, which an import alone does not pay.
    """
    branches: dict[str, list[str]] = {}
    for index, one in enumerate(FORMATS):
        first = re.escape(one.start[0])
        before = one.before.format(first=first)
        branches.setdefault(first, []).append(f"{before}{re.escape(one.start[1:])}(?P<f{index}>{one.rest})")
    return re.compile("|".join(f"{first}(?:{'|'.join(each)})" for first, each in branches.items()))


def tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """Find tokens; each comes with its rule."""
    for match in _pattern().finditer(text):
        yield match.start(), match.end(), FORMATS[int((match.lastgroup or "f0")[1:])].rule


PEM_BEGIN: Final = "-----BEGIN "
_PEM_HEAD: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY: Final = re.compile(r"[A-Za-z0-9+/=\s\\:,.()-]*")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{2,60}-----")


def private_keys(text: str) -> list[tuple[int, int]]:
    """Return where private keys in PEM stand in `text`, without the lines that begin and end them."""
    found = []
    place = text.find(PEM_BEGIN)
    while place >= 0:
        head = _PEM_HEAD.match(text, place)
        end = place + 1
        if head is not None:
            end = _pem_end(text, head.end())
            if end > head.end():
                found.append((head.end(), end))
        place = text.find(PEM_BEGIN, end)
    return found


def _pem_end(text: str, start: int) -> int:
    """Return where the body ends; without an end it goes as far as it looks like one."""
    again = text.find(PEM_BEGIN, start)
    limit = len(text) if again < 0 else again
    dashes = text.find("-----END ", start, limit)
    if dashes >= 0 and _PEM_END.match(text, dashes) is not None:
        return dashes
    body = _PEM_BODY.match(text, start, limit)
    return start if body is None else body.end()
