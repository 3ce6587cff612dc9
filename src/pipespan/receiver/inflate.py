"""Unpacks request bodies, and stops at the bound: a small body can unpack to gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

MAX_BODY_BYTES: Final = 64 << 20
"""Largest request, packed or unpacked: the bound that the OTLP specification asks receivers for."""

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS


class TooLargeError(ValueError):
    """A body is larger than `MAX_BODY_BYTES`."""


class UnsupportedError(ValueError):
    """A body is packed in a way that is not known here."""


def inflate(body: bytes, encoding: str, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return `body` unpacked.

    Args:
        body: as it came.
        encoding: value of `Content-Encoding`; empty or `identity` for none.
        max_bytes: most bytes to unpack to.

    Raises:
        TooLargeError: it is larger.
        UnsupportedError: the encoding is another one than gzip and deflate.
        ValueError: it is damaged or cut short.
    """
    name = encoding.strip().lower()
    if len(body) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes")
    if name in {"", "identity"}:
        return body
    if name in {"gzip", "x-gzip"}:
        return _unpacked(body, _GZIP_BITS, max_bytes)
    if name == "deflate":
        # By the letter a zlib stream; some clients send it raw.
        bits = zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS
        return _unpacked(body, bits, max_bytes)
    raise UnsupportedError(f"content encoding {encoding[:40]!r} is not known; use gzip, deflate or none")


def _unpacked(body: bytes, bits: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    rest = body
    while rest:
        unpacker = zlib.decompressobj(bits)
        try:
            part = unpacker.decompress(rest, max_bytes - size_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"the body cannot be unpacked: {error}") from error
        size_bytes += len(part)
        if size_bytes > max_bytes:
            raise TooLargeError(f"the body unpacks to more than {max_bytes} bytes")
        if not unpacker.eof:
            raise ValueError("the body is cut short")
        parts.append(part)
        rest = unpacker.unused_data  # gzip files may stand behind one another
    return b"".join(parts)
