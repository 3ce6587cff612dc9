"""The SDK's exporters that write rows: for programs that wire pipespan through `OTEL_*_EXPORTER` alone.

They see a span only when it has ended, a log record after the batch delay and metrics by the reader's
interval; what is live comes from the recorder and the log handler. Wiring both is harmless: nodes merge, and
records that have their row are passed over. Thin and thread-safe: they convert and hand on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipespan.otel.bridged import BridgedRecord
from pipespan.otel.convert import log_row_from_otel
from pipespan.otel.convert_metric import metric_row
from pipespan.otel.convert_node import identity_of_attributes, node_row_from_span
from pipespan.otel.ports import FindNode, NodeIdentity, RowWriter
from pipespan.otel.processor import is_seen

RunningPipeline: TypeAlias = Callable[[], NodeIdentity | None]


class RowSpanExporter(SpanExporter):
    """Writes the final row of each span that is a node; other spans are counted and left alone."""

    def __init__(self, sink: RowWriter) -> None:
        self._sink = sink
        self._is_shut_down = False
        self.ignored_count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the rows of `spans`."""
        if self._is_shut_down:
            return SpanExportResult.FAILURE
        for span in spans:
            row = node_row_from_span(span)
            if row is None:
                self.ignored_count += 1
            else:
                self._sink.write(row)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Refuse further spans; the sink belongs to somebody else."""
        self._is_shut_down = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: a row is safe when it is written."""
        return True


class RowLogExporter(LogRecordExporter):
    """Writes the row of each record that has none yet and belongs to a pipeline."""

    def __init__(self, find_node: FindNode, sink: RowWriter) -> None:
        self._find_node = find_node
        self._sink = sink
        self._is_shut_down = False
        self.ignored_count = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write the rows of `batch`."""
        if self._is_shut_down:
            return LogRecordExportResult.FAILURE
        for readable in batch:
            self._write(readable)
        return LogRecordExportResult.SUCCESS

    def _write(self, readable: ReadableLogRecord) -> None:
        record = readable.log_record
        if isinstance(record, BridgedRecord) or is_seen(record):
            return
        # A batch processor has taken the context away, so what is stamped on the record comes first.
        node = identity_of_attributes(record.attributes or {}) or self._find_node(record.context or Context())
        if node is None:
            self.ignored_count += 1
            return
        scope = readable.instrumentation_scope
        self._sink.write(log_row_from_otel(record, scope.name if scope is not None else "", node))

    def shutdown(self) -> None:
        """Refuse further records; the sink belongs to somebody else."""
        self._is_shut_down = True

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: a row is safe when it is written."""
        return True


class RowMetricExporter(MetricExporter):
    """Writes one row per collection, for the pipeline that runs in this process; cumulative."""

    def __init__(self, running: RunningPipeline, sink: RowWriter) -> None:
        cumulative = AggregationTemporality.CUMULATIVE
        super().__init__(
            preferred_temporality={Counter: cumulative, ObservableCounter: cumulative, Histogram: cumulative}
        )
        self._running = running
        self._sink = sink
        self._is_shut_down = False
        self.dropped_count = 0

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Write the row of `metrics_data`; without a running pipeline it is dropped and counted."""
        if self._is_shut_down:
            return MetricExportResult.FAILURE
        node = self._running()
        if node is None:
            self.dropped_count += 1
            return MetricExportResult.SUCCESS
        row = metric_row(metrics_data, node)
        if row is not None:
            self._sink.write(row)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: a row is safe when it is written."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Refuse further metrics; the reader passes a `timeout` of its own, which nothing here needs."""
        self._is_shut_down = True
