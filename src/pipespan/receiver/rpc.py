"""OTLP/gRPC: three services, served from bytes to bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio

from pipespan.otlp.decode import Signal
from pipespan.receiver.answers import GRPC_CODES, Answer, retry_info, status_message, success_message
from pipespan.receiver.auth import NO_TOKEN, Gate
from pipespan.receiver.http import BODY_TIMEOUT_S
from pipespan.receiver.inflate import MAX_BODY_BYTES
from pipespan.receiver.intake import Body, Intake
from pipespan.receiver.room import FullError, Room

_SERVICES: Final[Mapping[str, Signal]] = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    # Who has gone without a word is noticed, and does not keep a connection for ever.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

Export = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]


class _Services(grpc.GenericRpcHandler):
    """Finds the method of a call.

    Its handlers are those of streams, although there is one message: so they start before it has come, can refuse it
    unread, and need not wait for its sender for ever.
    """

    def __init__(self, intake: Intake, gate: Gate, room: Room) -> None:
        self._gate = gate
        self._exports = {method: _exporter(intake, room, signal) for method, signal in _SERVICES.items()}

    def service(self, handler_call_details: Any) -> Any:
        """See `grpc.GenericRpcHandler.service`."""
        export = self._exports.get(handler_call_details.method)
        if export is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        admits = self._gate.admits(metadata.get("authorization"))
        return grpc.stream_unary_rpc_method_handler(export if admits else _deny)


def _exporter(intake: Intake, room: Room, signal: Signal) -> Export:
    async def answer_to(messages: AsyncIterator[bytes]) -> Answer:
        try:
            with room.enter() as ticket:
                payload = await asyncio.wait_for(_first(messages), BODY_TIMEOUT_S)
                ticket.hold(len(payload))
                return await intake.take(Body(signal, payload))
        except FullError as full:
            return Answer("unavailable", str(full))
        except (asyncio.TimeoutError, TimeoutError):
            return Answer("too_slow", f"the body did not come within {BODY_TIMEOUT_S:.0f} s")

    async def export(messages: AsyncIterator[bytes], context: Any) -> bytes:
        answer = await answer_to(messages)
        if answer.kind != "accepted":
            await _abort(context, answer)
        response: bytes = success_message(signal, answer).SerializeToString()
        return response

    return export


async def _first(messages: AsyncIterator[bytes]) -> bytes:
    async for message in messages:
        return message
    return b""


async def _deny(_messages: AsyncIterator[bytes], context: Any) -> bytes:
    await _abort(context, Answer("unauthorized", NO_TOKEN))
    return b""


async def _abort(context: Any, answer: Answer) -> None:
    trailers = [("grpc-status-details-bin", status_message(answer).SerializeToString())]
    if answer.kind == "unavailable":
        trailers.append(("google.rpc.retryinfo-bin", retry_info()))
    await context.abort(_CODES[GRPC_CODES[answer.kind]], answer.message, tuple(trailers))


def grpc_server(intake: Intake, gate: Gate, room: Room, *, is_shared: bool) -> Any:
    """Return a server without a port yet; belongs to the running event loop.

    Args:
        intake: writes requests.
        gate: lets senders in.
        room: bounds what is in work.
        is_shared: whether other processes may listen on the same port.
    """
    server = grpc.aio.server(options=[*_OPTIONS, ("grpc.so_reuseport", int(is_shared))])
    server.add_generic_rpc_handlers((_Services(intake, gate, room),))
    return server
