"""OTLP/HTTP as a bare ASGI application: three paths, two encodings, nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

from pipespan.otlp.decode import Signal
from pipespan.receiver.answers import HTTP_STATUSES, RETRY_AFTER_S, Answer, status_message, success_message
from pipespan.receiver.auth import NO_TOKEN, Gate
from pipespan.receiver.inflate import MAX_BODY_BYTES, TooLargeError, UnsupportedError, inflate
from pipespan.receiver.intake import Intake

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS: Final[Mapping[str, Signal]] = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
HEALTH: Final = "/health"

BODY_TIMEOUT_S: Final = 30.0
"""A sender that takes longer over its body is cut off, so that slow ones do not hold what others need."""


class HttpReceiver:
    """The ASGI application.

    Args:
        intake: writes requests.
        gate: lets senders in.
        pool: threads that requests are processed in.
        max_waiting: how many requests may be in work or wait for it; above it senders are asked to come again.
    """

    def __init__(self, intake: Intake, gate: Gate, pool: ThreadPoolExecutor, *, max_waiting: int) -> None:
        self._intake = intake
        self._gate = gate
        self._pool = pool
        self._max_waiting = max_waiting
        self._waiting = 0

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
        answer = await self._answer(signal, scope["method"], headers, media, receive)
        await _send_answer(send, signal or "traces", answer, is_json=media == JSON)

    async def _answer(
        self, signal: Signal | None, method: str, headers: Mapping[str, bytes], media: str, receive: Receive
    ) -> Answer:
        refusal = self._refusal(signal, method, headers, media)
        if refusal is not None:
            return refusal
        if signal is None or self._waiting >= self._max_waiting:
            return Answer("unavailable", "too many requests at once")
        self._waiting += 1
        try:
            body = await asyncio.wait_for(_body(receive), BODY_TIMEOUT_S)
            encoding = headers.get("content-encoding", b"").decode("latin-1")
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._process, signal, body, encoding, media == JSON
            )
        except (TooLargeError, UnsupportedError, ValueError) as error:
            return _bad_body(error)
        except TimeoutError:
            return Answer("undecodable", f"the body did not come within {BODY_TIMEOUT_S:.0f} s")
        except asyncio.TimeoutError:
            return Answer("undecodable", f"the body did not come within {BODY_TIMEOUT_S:.0f} s")
        finally:
            self._waiting -= 1

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
        declared = headers.get("content-length", b"0")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            return Answer("too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
        return None

    def _process(self, signal: Signal, body: bytes, encoding: str, is_json: bool) -> Answer:  # noqa: FBT001 - called by position
        return self._intake.take(signal, inflate(body, encoding), is_json=is_json)


def _bad_body(error: ValueError) -> Answer:
    if isinstance(error, TooLargeError):
        return Answer("too_large", str(error))
    if isinstance(error, UnsupportedError):
        return Answer("unsupported", str(error))
    return Answer("undecodable", str(error))


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ValueError("the sender went away")
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > MAX_BODY_BYTES:
            raise TooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


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
