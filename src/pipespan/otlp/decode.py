"""One entry for each signal: bytes of a request to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipespan.otlp.decoded import Decoded
from pipespan.otlp.envelope import Group, UndecodableError, read_json, read_lean, read_protobuf, reader_of
from pipespan.otlp.fastlane import FastLane
from pipespan.otlp.logs import decode_logs
from pipespan.otlp.metrics import decode_metrics
from pipespan.otlp.rules import NodeRule
from pipespan.otlp.spans import decode_spans

__all__ = ["SIGNALS", "Decoder", "Signal", "UndecodableError"]

Signal = Literal["traces", "logs", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs", "metrics")

_KINDS: Final[dict[Signal, type[Any]]] = {"traces": Span, "logs": LogRecord, "metrics": Metric}


@dataclass(frozen=True, slots=True)
class Decoder:
    """Maps requests to rows.

    Attributes:
        rule: which spans of other origin become nodes.
        fast: takes the usual records the short way; None sends all the long way.
    """

    rule: NodeRule
    fast: FastLane | None = None

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
        read = reader_of(_KINDS[signal], is_json=is_json)
        if is_json:
            return self._decode(signal, read_json(signal, payload), read, None, now_unix_ns)
        lean = None if self.fast is None else self.fast.parse(signal, payload)
        if lean is None:
            return self._decode(signal, read_protobuf(payload), read, None, now_unix_ns)
        return self._decode(signal, read_lean(lean), read, self.fast, now_unix_ns)

    def _decode(
        self, signal: Signal, groups: Iterator[Group], read: Callable[[Any], Any], fast: FastLane | None,
        now_unix_ns: int,
    ) -> Decoded:  # fmt: skip
        if signal == "traces":
            return decode_spans(groups, read, self.rule, now_unix_ns, None if fast is None else fast.spans)
        if signal == "logs":
            return decode_logs(groups, read, now_unix_ns, None if fast is None else fast.logs)
        return decode_metrics(groups, read, now_unix_ns)
