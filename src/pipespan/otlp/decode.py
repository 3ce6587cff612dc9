"""One entry for each signal: bytes of a request to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipespan.otlp.decoded import Decoded
from pipespan.otlp.fromjson import parse_json
from pipespan.otlp.logs import decode_logs
from pipespan.otlp.metrics import decode_metrics
from pipespan.otlp.rules import NodeRule
from pipespan.otlp.spans import decode_spans

Signal = Literal["traces", "logs", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs", "metrics")

_REQUESTS: Final[dict[Signal, type[Message]]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


class UndecodableError(ValueError):
    """The bytes are no request of the signal; sending them again cannot help."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Maps requests to rows.

    Attributes:
        rule: which spans of other origin become nodes.
    """

    rule: NodeRule

    def decode(self, signal: Signal, payload: bytes, *, is_json: bool, now_unix_ns: int) -> Decoded:
        """Return the rows of a request.

        Args:
            signal: what it carries.
            payload: its bytes, not compressed.
            is_json: OTLP/JSON and not protobuf.
            now_unix_ns: for what has no time of its own.

        Raises:
            UndecodableError: the bytes are no such request.
        """
        request = _parse(_REQUESTS[signal](), payload, is_json=is_json)
        if signal == "traces":
            return decode_spans(request, self.rule)
        if signal == "logs":
            return decode_logs(request, now_unix_ns)
        return decode_metrics(request, now_unix_ns)


def _parse(request: Any, payload: bytes, *, is_json: bool) -> Any:
    try:
        if is_json:
            return parse_json(payload, request)
        request.ParseFromString(payload)
    except (DecodeError, ValueError, RecursionError) as error:
        raise UndecodableError(str(error)[:200]) from error
    return request
