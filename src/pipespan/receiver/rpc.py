"""OTLP/gRPC: three services, served from bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from pipespan.otlp.decode import Signal
from pipespan.receiver.answers import GRPC_CODES, Answer, retry_info, status_message, success_message
from pipespan.receiver.auth import NO_TOKEN, Gate
from pipespan.receiver.inflate import MAX_BODY_BYTES
from pipespan.receiver.intake import Intake

_SERVICES: Final[Mapping[str, Signal]] = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class _Services(grpc.GenericRpcHandler):
    """Finds the method of a call; who does not show the token gets none whose body would be read."""

    def __init__(self, intake: Intake, gate: Gate) -> None:
        self._intake = intake
        self._gate = gate

    def service(self, handler_call_details: Any) -> Any:
        signal = _SERVICES.get(handler_call_details.method)
        if signal is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        if not self._gate.admits(metadata.get("authorization")):
            return grpc.stream_unary_rpc_method_handler(_deny)
        return grpc.unary_unary_rpc_method_handler(self._taker(signal))

    def _taker(self, signal: Signal) -> Callable[[bytes, Any], bytes]:
        def export(payload: bytes, context: Any) -> bytes:
            answer = self._intake.take(signal, payload)
            if answer.kind != "accepted":
                _abort(context, answer)
            response: bytes = success_message(signal, answer).SerializeToString()
            return response

        return export


def _deny(_requests: Any, context: Any) -> bytes:
    # A stream's handler starts before any message has come, a unary one only after the whole body.
    _abort(context, Answer("unauthorized", NO_TOKEN))
    return b""


def _abort(context: Any, answer: Answer) -> None:
    trailers = [("grpc-status-details-bin", status_message(answer).SerializeToString())]
    if answer.kind == "unavailable":
        trailers.append(("google.rpc.retryinfo-bin", retry_info()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(_CODES[GRPC_CODES[answer.kind]], answer.message)


def grpc_server(intake: Intake, gate: Gate, *, threads: int, max_waiting: int, is_shared: bool) -> Any:
    """Return a server without a port yet.

    Args:
        intake: writes requests.
        gate: lets senders in.
        threads: how many requests are processed at the same time.
        max_waiting: how many may be in work or wait for it; above it gRPC itself answers RESOURCE_EXHAUSTED.
        is_shared: whether other processes may listen on the same port.
    """
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="pipespan-otlp-grpc"),
        maximum_concurrent_rpcs=max_waiting,
        options=[("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", int(is_shared))],
    )
    server.add_generic_rpc_handlers((_Services(intake, gate),))
    return server
