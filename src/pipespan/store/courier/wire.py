"""What is said over the courier's socket: frames of a JSON head and bytes behind it; pure.

A frame is two numbers of four bytes, big-endian: the size of the head and the size of the rest.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from pipespan.errors import OffsetError, RefusedError, SchemaError, StoreError, StoreUnavailableError
from pipespan.model.rows import ROW_TYPES
from pipespan.store.base import Batch, StreamKey

MAX_HEAD_BYTES: Final = 16 << 20
MAX_BODY_BYTES: Final = 64 << 20
"""A frame that claims to be larger is not one."""

_SIZES: Final = struct.Struct(">II")
_SPANS: Final = "spans"
_ROW_TYPES: Final = {row_type.__name__: row_type for row_type in ROW_TYPES}
_ERRORS: Final = {kind.__name__: kind for kind in (RefusedError, SchemaError, StoreUnavailableError)}


class WireError(Exception):
    """What came over the socket is no frame, or the other side is gone."""


class Frame(NamedTuple):
    """Something said: a head that JSON can hold, and bytes."""

    head: Mapping[str, Any]
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return the bytes that go over the socket.

        Raises:
            WireError: the frame is larger than what the other side takes.
        """
        head = json.dumps(self.head).encode()
        if len(head) > MAX_HEAD_BYTES or len(self.body) > MAX_BODY_BYTES:
            raise WireError(f"{len(head) + len(self.body)} bytes are too many for one frame")
        return b"".join((_SIZES.pack(len(head), len(self.body)), head, self.body))


class Readable(Protocol):
    """A file to read from, such as that of a socket."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer where the file ends."""


def read_frame(file: Readable) -> Frame | None:
    """Return the next frame, None where the other side has ended.

    Raises:
        WireError: it ended in the middle of a frame, or this is no frame.
        OSError: it cannot be read.
    """
    sizes = file.read(_SIZES.size)
    if not sizes:
        return None
    if len(sizes) < _SIZES.size:
        raise WireError("the other side ended in the middle of a frame")
    head_bytes, body_bytes = _SIZES.unpack(sizes)
    if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
        raise WireError("this is no frame")
    head, body = file.read(head_bytes), file.read(body_bytes) if body_bytes else b""
    if len(head) < head_bytes or len(body) < body_bytes:
        raise WireError("the other side ended in the middle of a frame")
    try:
        said = json.loads(head)
    except ValueError as error:
        raise WireError("this is no frame") from error
    if not isinstance(said, dict):
        raise WireError("this is no frame")
    return Frame(said, body)


def batches_frame(batches: Sequence[Batch], *, is_pressing: bool = False) -> Frame:
    """Return batches that go together as a frame."""
    told: list[dict[str, Any]] = []
    body: list[bytes] = []
    for batch in batches:
        pieces = {row_type.__name__: b"".join(lines) for row_type, lines in batch.lines.items()}
        pieces[_SPANS] = b"".join(batch.spans)
        body += pieces.values()
        told.append({
            "stream": batch.key.stream_id,
            "lane": batch.key.lane,
            "start": batch.start_bytes,
            "end": batch.end_bytes,
            "errors": dict(batch.error_logs),
            "pieces": {name: len(piece) for name, piece in pieces.items()},
        })  # fmt: skip
    return Frame({"do": "ship", "batches": told, "pressing": is_pressing}, b"".join(body))


def batches_of(frame: Frame) -> list[Batch]:
    """Return the batches that `batches_frame` made a frame of.

    Raises:
        WireError: there are none in it.
    """
    found, start = [], 0
    try:
        for told in frame.head["batches"]:
            pieces = {}
            for name, size in told["pieces"].items():
                pieces[name] = [frame.body[start : start + size]] if size else []
                start += size
            spans = pieces.pop(_SPANS)
            lines = {_ROW_TYPES[name]: those for name, those in pieces.items()}
            found.append(Batch(key_of(told), told["start"], told["end"], lines, told["errors"], spans))
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError(f"this is no batch: {error!r}") from error
    return found


def key_of(head: Mapping[str, Any]) -> StreamKey:
    """Return the lane that a frame is about.

    Raises:
        KeyError: it is about none.
    """
    return StreamKey(head["stream"], head["lane"])


def error_frame(error: StoreError) -> Frame:
    """Return an error of the store as a frame."""
    head: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, OffsetError):
        head["stands"] = error.shipped_bytes
    return Frame(head)


def error_of(head: Mapping[str, Any]) -> StoreError | None:
    """Return the error that the head of an answer tells, None where it tells none."""
    kind, message = head.get("error"), str(head.get("message"))
    if kind is None:
        return None
    if kind == OffsetError.__name__:
        return OffsetError(message, shipped_bytes=int(head["stands"]))
    return _ERRORS.get(str(kind), StoreUnavailableError)(message)
