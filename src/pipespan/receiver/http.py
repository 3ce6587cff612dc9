"""OTLP/HTTP as a bare ASGI application: three paths, two encodings, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from pipespan.otlp.decode import Signal
from pipespan.receiver.answers import HTTP_STATUSES, RETRY_AFTER_S, Answer, status_message, success_message
from pipespan.receiver.auth import NO_TOKEN, Gate
from pipespan.receiver.inflate import MAX_BODY_BYTES, TooLargeError
from pipespan.receiver.intake import Body, Intake
from pipespan.receiver.room import FullError, Room, Ticket

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS: Final[Mapping[str, Signal]] = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
HEALTH: Final = "/health"

BODY_TIMEOUT_S: Final = 30.0
"""A sender that takes longer over its body is cut off, so that slow ones do not hold what others need."""

_TOO_LARGE: Final = f"the body is larger than {MAX_BODY_BYTES} bytes"


class HttpReceiver:
    """The ASGI application.

    Args:
        intake: writes requests.
        gate: lets senders in.
        room: bounds what is in work.
    """

    def __init__(self, intake: Intake, gate: Gate, room: Room) -> None:
        self._intake = intake
        self._gate = gate
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        media = headers.get("content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if scope["path"] == HEALTH and scope["method"] == "GET":
            await _respond(send, 200, JSON, json.dumps(self._intake.tally.as_object()).encode())
            return
        signal = PATHS.get(scope["path"])
        answer = self._refusal(signal, scope["method"], headers, media)
        if answer is None and signal is not None:
            answer = await self._answer(signal, headers, media, receive)
        if answer is not None:
            await _send_answer(send, signal or "traces", answer, is_json=media == JSON)

    async def _answer(
        self, signal: Signal, headers: Mapping[str, bytes], media: str, receive: Receive
    ) -> Answer | None:
        """Return what came of a request; None when its sender has gone."""
        try:
            with self._room.enter() as ticket:
                declared = headers.get("content-length", b"0")
                if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
                    raise TooLargeError(_TOO_LARGE)
                packed = await asyncio.wait_for(_body(receive, ticket), BODY_TIMEOUT_S)
                if packed is None:
                    return None
                encoding = headers.get("content-encoding", b"").decode("latin-1")
                return await self._intake.take(Body(signal, packed, encoding, media == JSON))
        except FullError as full:
            return Answer("unavailable", str(full))
        except TooLargeError as error:
            await _discard(receive)
            return Answer("too_large", str(error))
        except (asyncio.TimeoutError, TimeoutError):
            return Answer("too_slow", f"the body did not come within {BODY_TIMEOUT_S:.0f} s")

    def _refusal(
        self, signal: Signal | None, method: str, headers: Mapping[str, bytes], media: str
    ) -> Answer | None:
        """Return why a request is not even read."""
        if not self._gate.admits(headers.get("authorization")):
            return Answer("unauthorized", NO_TOKEN)
        if signal is None or method != "POST":
            return Answer("not_found", f"POST to one of {', '.join(PATHS)}")
        if media not in {PROTOBUF, JSON}:
            return Answer(
                "unsupported", f"content type {media[:40]!r} is not known; send {PROTOBUF} or {JSON}"
            )
        return None


async def _body(receive: Receive, ticket: Ticket) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if ticket.held_bytes + len(part) > MAX_BODY_BYTES:
            raise TooLargeError(_TOO_LARGE)
        ticket.hold(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _discard(receive: Receive) -> None:
    """Let a sender whose body is too large finish: one that is cut off never reads why, and sends it again."""
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(_to_the_end(receive), BODY_TIMEOUT_S)


async def _to_the_end(receive: Receive) -> None:
    left_bytes = MAX_BODY_BYTES
    while left_bytes > 0:
        message = await receive()
        if not message.get("more_body", False):
            return
        left_bytes -= len(message.get("body", b""))


async def _send_answer(send: Send, signal: str, answer: Answer, *, is_json: bool) -> None:
    message = success_message(signal, answer) if answer.kind == "accepted" else status_message(answer)
    if is_json:
        from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - few senders use it

        body, media = MessageToJson(message, indent=None).encode(), JSON
    else:
        body, media = message.SerializeToString(), PROTOBUF
    extra = [(b"retry-after", str(RETRY_AFTER_S).encode())] if answer.kind == "unavailable" else []
    if answer.kind == "unauthorized":
        extra.append((b"www-authenticate", b"Bearer"))
    await _respond(send, HTTP_STATUSES[answer.kind], media, body, extra)


async def _respond(
    send: Send, status: int, media: str, body: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [
        (b"content-type", media.encode()),
        (b"content-length", str(len(body)).encode()),
        *(extra or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
