# ruff: noqa: E501 - tables of samples
"""Exporters of providers that are made here: no secret goes over OTLP, whoever recorded it."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, StatusCode

from pipespan.model.redact import Redactor
from pipespan.model.redact_rows import RowGate
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.redact_values import MARKER
from pipespan.otel.handler import RowLogHandler
from pipespan.otel.redacted import RedactingLogExporter, RedactingMetricExporter, RedactingSpanExporter
from tests.otel.doubles import Node, Rows

SECRET = "Sup3r/Secret#1"
REDACTOR = Redactor(RedactSpec(), [SECRET])


def test_spans_of_other_libraries_lose_their_secrets_only() -> None:
    """Names, attributes, events, links and descriptions are clean; the span that others hold is left as it was."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(kept, REDACTOR)))
    tracer = provider.get_tracer("other")
    link = Link(SpanContext(1, 2, False), {"note": SECRET})
    with tracer.start_as_current_span(
        f"GET {SECRET}", links=[link], attributes={"n": 5, "http.url": f"https://u:{SECRET}@h/"}
    ) as span:
        span.add_event(SECRET, {"password": "hunter2", "list": ("a", SECRET)})
        span.set_status(StatusCode.ERROR, f"refused {SECRET}")
    with tracer.start_as_current_span("plain", attributes={"n": 5}) as harmless:
        pass
    changed, same = kept.get_finished_spans()
    held: Any = span
    assert SECRET not in changed.to_json()
    assert "hunter2" not in changed.to_json()
    assert (changed.name, dict(changed.attributes or {})["n"]) == (f"GET {MARKER}", 5)
    assert changed.context == span.get_span_context()
    assert same.attributes == {"n": 5}
    assert same.get_span_context() == harmless.get_span_context()
    assert SECRET in held.name


def test_records_of_the_logs_api_are_clean() -> None:
    """Bodies, structured ones too, and attributes."""
    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(RedactingLogExporter(kept, REDACTOR)))
    logger = provider.get_logger("other")
    bodies: list[Any] = [f"with {SECRET}", {"token": "aB3dEf9h", "n": 1}, "harmless"]
    for body in bodies:
        logger.emit(
            LogRecord(body=body, attributes={"x": f"a {SECRET}"}, severity_number=SeverityNumber.INFO)
        )
    found = [readable.log_record for readable in kept.get_finished_logs()]
    assert [record.body for record in found] == [f"with {MARKER}", {"token": MARKER, "n": 1}, "harmless"]
    assert all(record.attributes == {"x": f"a {MARKER}"} for record in found)


class Kept(MetricExporter):
    """Keeps what is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object
    ) -> MetricExportResult:
        self.texts.append(metrics_data.to_json())
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        pass


def test_attributes_of_measurements_are_clean() -> None:
    """The secret goes, the figures stay."""
    reader, kept = InMemoryMetricReader(), Kept()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider.get_meter("other").create_counter("calls").add(3, {"url": f"https://u:{SECRET}@h/", "ok": True})
    data = reader.get_metrics_data()
    assert data is not None
    RedactingMetricExporter(kept, REDACTOR).export(data)
    assert SECRET not in kept.texts[0]
    assert MARKER in kept.texts[0]
    assert '"value": 3' in kept.texts[0]


def test_what_the_bridge_passes_on_is_clean() -> None:
    """Message, extra fields, traceback and exception message, in the row and over OTLP alike."""
    kept, sink, gate = InMemoryLogRecordExporter(), Rows(), RowGate(REDACTOR)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    handler = RowLogHandler(lambda _context: Node(), sink, provider, gate)
    logger = logging.Logger("app")  # noqa: LOG001 - none that other tests know
    logger.addHandler(handler)
    try:
        raise ValueError(f"no entry with {SECRET}\nand password=hunter2")
    except ValueError:
        logger.exception("failed with %s", SECRET, extra={"api_key": "abcDEF123", "n": 5})
    record: Any = kept.get_finished_logs()[0].log_record
    shown = f"{record.body} {dict(record.attributes)} {sink[0]}"
    assert SECRET not in shown
    assert "hunter2" not in shown
    assert "abcDEF123" not in shown
    assert record.body == f"failed with {MARKER}"
    assert record.attributes["n"] == 5
