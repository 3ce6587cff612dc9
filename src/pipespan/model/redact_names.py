"""Which names say that their value is a secret: of environment variables, mapping keys, options, headers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

Certainty = Literal["none", "weak", "strong"]
"""How sure a name is: under a weak one only what looks random is a secret."""

MAX_NAME_CHARS: Final = 96
"""A longer name is judged by its end."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_STRONG: Final = frozenset({
    "password", "passwd", "pwd", "userpwd", "passphrase", "passcode", "secret", "credential", "authorization",
    "cookie", "apikey", "privatekey", "secretkey", "accesskey", "accountkey", "authkey", "signingkey", "encryptionkey",
    "accesstoken", "authtoken", "refreshtoken", "bearertoken", "sessiontoken", "clientsecret", "connectionstring",
})  # fmt: skip
_STRONG_PLURALS: Final = frozenset({"passwords", "secrets", "credentials", "cookies", "apikeys"})
_STRONG_ENDS: Final = (
    "password", "passwd", "passphrase", "apikey", "secretkey", "privatekey", "authtoken", "accesstoken",
    "refreshtoken", "clientsecret",
)  # fmt: skip

# A key is a secret when something before it says what it opens.
_KEY_KINDS: Final = frozenset({
    "api", "access", "secret", "private", "encryption", "signing", "auth", "account", "master", "shared", "storage",
    "service", "ssh", "consumer", "admin", "application", "hmac", "jwt", "decryption", "crypto", "subscription",
    "openai", "anthropic", "stripe", "fernet",
})  # fmt: skip

# Names in which "token" is a piece of text, or a place in a list.
_TOKEN_KINDS: Final = frozenset({
    "eos", "bos", "pad", "unk", "mask", "cls", "sep", "special", "stop", "start", "end", "begin", "next",
    "prev", "previous", "page", "continuation", "per", "max", "min", "num", "n", "total", "first", "last",
    "current", "sub", "word", "text", "image", "new", "input", "output", "prompt", "completion", "unexpected",
    "invalid", "unknown", "the", "sync", "pagination", "cursor", "added", "extra", "decoder", "encoder",
    "forced", "suppress", "time", "newline", "whitespace",
})  # fmt: skip

# What may follow the telling word without changing what the name means.
_SUFFIXES: Final = frozenset({
    "value", "values", "confirm", "confirmation", "new", "old", "current", "previous", "plain", "plaintext", "text",
    "string", "raw", "b64", "base64", "encoded", "hash", "hashed", "prod", "dev", "test", "staging", "live", "primary",
    "secondary", "backup", "v",
})  # fmt: skip
_HARMLESS: Final = frozenset({"PWD", "OLDPWD"})


def name_words(name: str) -> list[str]:
    """Return the words of a name in any spelling, in lower case: `dbPassword`, `DB_PASSWORD`, `--db-password`."""
    return [word.lower() for word in _WORDS.findall(name[-MAX_NAME_CHARS:])]


@lru_cache(maxsize=4096)
def certainty_of(name: str) -> Certainty:
    """Tell how sure `name` says that its value is a secret."""
    if name in _HARMLESS:
        return "none"
    words = name_words(name)
    while len(words) > 1 and (words[-1] in _SUFFIXES or words[-1].isdigit()):
        words.pop()
    if not words or "public" in words:
        return "none"
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _STRONG or last in _STRONG_PLURALS or last.endswith(_STRONG_ENDS):
        return "strong"
    if last in {"token", "jwt"}:
        return _token_certainty(before)
    if last == "key" and before in _KEY_KINDS:
        return "strong"
    if last == "id" and words[-3:-1] == ["access", "key"]:
        return "strong"
    return "strong" if "".join(words[-2:]) in _STRONG else "none"


def _token_certainty(before: str) -> Certainty:
    if before in _TOKEN_KINDS:
        return "none"
    return "strong" if before else "weak"


def is_secret_variable(name: str) -> bool:
    """Tell whether the name of an environment variable says that its value is a secret."""
    if certainty_of(name) != "none":
        return True
    # In the environment a key is rarely anything else, whatever stands before it.
    words = name_words(name)
    return len(words) > 1 and words[-1] in {"key", "pass"} and "public" not in words
