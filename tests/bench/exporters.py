"""OTel providers as the peers use them: a batch processor before an exporter that does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class NoOpSpanExporter(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Do nothing."""
        return SpanExportResult.SUCCESS


class NoOpLogExporter(LogRecordExporter):
    """Takes log records and forgets them."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Do nothing."""
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Do nothing: nothing waits."""
        return True

    def shutdown(self) -> None:
        """Do nothing."""


def batching_tracer_provider() -> TracerProvider:
    """Return a provider whose spans go through a batch processor to nowhere."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(NoOpSpanExporter()))
    return provider


def batching_logger_provider() -> LoggerProvider:
    """Return a provider whose log records go through a batch processor to nowhere."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(NoOpLogExporter()))
    return provider
