"""What a request comes to, and how it is told in the two transports.

Statuses and their consequences follow the OTLP specification 1.x and what real clients do: Python's SDK drops on
500 and takes 302 for success, the Collector treats everything but 429, 502, 503 and 504 as permanent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal[
    "accepted",
    "undecodable",
    "unauthorized",
    "too_large",
    "too_slow",
    "unavailable",
    "unsupported",
    "not_found",
]

RETRY_AFTER_S: Final = 1
"""When a sender is asked to try again: Python's SDK gives up at once when it is asked to wait longer than it may."""

HTTP_STATUSES: Final[dict[Kind, int]] = {
    "accepted": 200,
    "undecodable": 400,
    "unauthorized": 401,
    "too_large": 413,
    "too_slow": 408,
    "unavailable": 503,
    "unsupported": 415,
    "not_found": 404,
}
GRPC_CODES: Final[dict[Kind, int]] = {
    "accepted": 0,
    "undecodable": 3,  # INVALID_ARGUMENT
    "unauthorized": 16,  # UNAUTHENTICATED
    "too_large": 8,  # RESOURCE_EXHAUSTED, without RetryInfo: not to be sent again
    "too_slow": 4,  # DEADLINE_EXCEEDED
    "unavailable": 14,  # UNAVAILABLE
    "unsupported": 12,  # UNIMPLEMENTED
    "not_found": 12,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Attributes:
        kind: in one word.
        message: for people; of an accepted request the reasons of what was rejected.
        rejected: how many spans, records or points could not be taken, beside others that were.
    """

    kind: Kind
    message: str = ""
    rejected: int = 0


def success_message(signal: str, answer: Answer) -> Any:
    """Return the response message of an accepted request; partial success is set only when something was rejected."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # noqa: PLC0415 - loaded once
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # noqa: PLC0415

    if signal == "traces":
        response: Any = traces.ExportTraceServiceResponse()
        if answer.rejected:
            response.partial_success.rejected_spans = answer.rejected
    elif signal == "logs":
        response = logs.ExportLogsServiceResponse()
        if answer.rejected:
            response.partial_success.rejected_log_records = answer.rejected
    else:
        response = metrics.ExportMetricsServiceResponse()
        if answer.rejected:
            response.partial_success.rejected_data_points = answer.rejected
    if answer.rejected:
        response.partial_success.error_message = answer.message
    return response


def status_message(answer: Answer) -> Any:
    """Return the `google.rpc.Status` of a request that was not accepted, with RetryInfo where a retry can help."""
    from google.protobuf.any_pb2 import Any as AnyMessage  # noqa: PLC0415 - as above
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415
    from google.rpc.status_pb2 import Status  # noqa: PLC0415

    status = Status(code=GRPC_CODES[answer.kind], message=answer.message)
    if answer.kind == "unavailable":
        info, packed = RetryInfo(), AnyMessage()
        info.retry_delay.seconds = RETRY_AFTER_S
        packed.Pack(info)
        status.details.append(packed)
    return status


def retry_info() -> bytes:
    """Return the RetryInfo that Python's SDK looks for in a trailer of its own."""
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415 - as above

    info = RetryInfo()
    info.retry_delay.seconds = RETRY_AFTER_S
    return bytes(info.SerializeToString())
