"""The exporters write rows as the SDK drives them, and never twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from pipespan.model.rows import MetricRow, NodeRow
from pipespan.otel.exporters import RowLogExporter, RowMetricExporter, RowSpanExporter
from pipespan.otel.handler import RowLogHandler
from pipespan.otel.processor import RowLogRecordProcessor
from pipespan.otel.spans import SdkSpans
from tests.otel.doubles import Node, Rows, find_node

LoggerOf = Callable[..., logging.Logger]


def export_node(rows: Rows, *, end: dict[str, Any] | None = None, **attributes: Any) -> RowSpanExporter:
    """Start and end one node's span with an exporter built as for an entry point."""
    exporter = RowSpanExporter(rows)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    spans = SdkSpans(provider.get_tracer("pipespan"))
    handle = spans.start(
        "shard", parent=Context(), start_time_unix_ns=5, attributes=attributes, trace_id=0xC0FFEE
    )
    outcome: dict[str, Any] = {"status": "completed", "error_type": None, "message": None, "attributes": {}}
    handle.end(end_time_unix_ns=9, **{**outcome, **(end or {})})
    provider.shutdown()
    return exporter


IDENTITY: dict[str, Any] = {
    "pipespan.experiment.id": Node().experiment_id,
    "pipespan.job.id": Node().job_id,
    "pipespan.node.id": "train/load",
    "pipespan.node.level": "phase",
}


def test_span_of_a_node_becomes_its_final_row(rows: Rows) -> None:
    """Identity, progress, outcome and times of the row are those of the span."""
    export_node(
        rows,
        end={
            "status": "failed",
            "error_type": "app.Lost",
            "message": "gone",
            "attributes": {
                "pipespan.progress.completed": 3,
                "pipespan.progress.total": 10,
                "pipespan.progress.unit": "files",
                "region": ("eu", "us"),
            },
        },
        **IDENTITY,
    )
    (row,) = rows
    assert isinstance(row, NodeRow)
    assert (row.experiment_id, row.job_id, row.node_id) == (Node().experiment_id, Node().job_id, "train/load")
    assert (row.node_level, row.parent_id, row.node_name) == ("phase", "train", "shard")
    assert (row.status, row.error_type, row.message) == ("failed", "app.Lost", "gone")
    assert (row.completed_units, row.total_units, row.unit) == (3, 10, "files")
    assert (row.start_time, row.end_time, row.version) == (5, 9, 8)
    assert (row.trace_id, row.weight, row.attempt) == (f"{0xC0FFEE:032x}", 1.0, 1)
    assert row.metadata == {"region": ["eu", "us"]}


def test_other_spans_are_counted_only(rows: Rows) -> None:
    """A span that is no node, or whose identity is not whole, gives no row."""
    assert export_node(rows).ignored_count == 1
    assert export_node(rows, **{**IDENTITY, "pipespan.node.level": "odd"}).ignored_count == 1
    assert rows == []


def test_exporters_refuse_after_shutdown(rows: Rows) -> None:
    """Shutdown may come twice; afterwards nothing is taken, as the specification asks."""
    spans, logs, metrics = (
        RowSpanExporter(rows),
        RowLogExporter(find_node, rows),
        RowMetricExporter(Node, rows),
    )
    for _ in range(2):
        spans.shutdown()
        logs.shutdown()
        metrics.shutdown(timeout=-1)
    assert spans.export([]) is SpanExportResult.FAILURE
    assert logs.export([]).name == "FAILURE"
    assert metrics.export(MetricsData(resource_metrics=[])) is MetricExportResult.FAILURE
    assert spans.force_flush()
    assert logs.force_flush()
    assert metrics.force_flush()


def test_log_exporter_finds_the_node_by_its_stamps(rows: Rows) -> None:
    """Behind a batch processor the context is gone, and the stamps say whose record it is."""
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = RowLogExporter(find_node, rows)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("lib")
    logger.emit(body="stamped", attributes={**IDENTITY, "k": 1})
    logger.emit(body="nobody's")
    provider.shutdown()
    (row,) = rows.logs
    assert (row.message, row.node_id, row.experiment_id) == ("stamped", "train/load", Node().experiment_id)
    assert row.context == {"k": 1, "pipespan.node.level": "phase"}
    assert exporter.ignored_count == 1


@pytest.mark.parametrize("is_exporter_first", [False, True])
def test_double_wiring_writes_each_record_once(
    rows: Rows, in_node: Node, logger_of: LoggerOf, *, is_exporter_first: bool
) -> None:
    """Handler, processor and exporter on one provider still make one row per record, in whatever order they stand."""
    provider = LoggerProvider(shutdown_on_exit=False)
    exporting = BatchLogRecordProcessor(RowLogExporter(lambda context: in_node, rows))
    processors = [RowLogRecordProcessor(find_node, rows), exporting]
    for processor in reversed(processors) if is_exporter_first else processors:
        provider.add_log_record_processor(processor)
    logger_of(RowLogHandler(find_node, rows, provider)).info("by logging")
    provider.get_logger("lib").emit(body="by the api")
    provider.shutdown()
    assert [row.message for row in rows.logs] == ["by logging", "by the api"]


def measure(rows: Rows, running: Callable[[], Node | None], series: int = 2) -> RowMetricExporter:
    """Collect one counter, one histogram and our own gauge through the periodic reader."""
    exporter = RowMetricExporter(running, rows)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)], shutdown_on_exit=False
    )
    meter = provider.get_meter("app")
    counter = meter.create_counter("rows.read")
    for number in range(series):
        counter.add(number + 1, {"shard": number})
    histogram = meter.create_histogram("batch.size")
    histogram.record(2)
    histogram.record(4)
    provider.get_meter("pipespan").create_counter("process.cpu.time").add(1)
    provider.shutdown()
    return exporter


def test_metrics_become_one_row(rows: Rows) -> None:
    """Series are keyed by name and attributes, histograms keep their sums, our own gauges stay out."""
    measure(rows, Node)
    (row,) = rows
    assert isinstance(row, MetricRow)
    assert row.experiment_id == Node().experiment_id
    assert row.custom_metrics == {
        "rows.read{shard=0}": 1,
        "rows.read{shard=1}": 2,
        "batch.size": {"count": 2, "sum": 6, "min": 2, "max": 4},
    }
    assert row.timestamp > 1_600_000_000_000_000_000


def test_metrics_without_a_pipeline_are_dropped_and_counted(rows: Rows) -> None:
    """Without a running pipeline there is nothing that they could belong to."""
    assert measure(rows, lambda: None).dropped_count >= 1
    assert rows == []


def test_endless_series_are_cut(rows: Rows) -> None:
    """A label with too many values does not fill the table, and the row says what it left out."""
    measure(rows, Node, series=1_200)
    (row,) = rows
    assert isinstance(row, MetricRow)
    assert row.custom_metrics is not None
    assert len(row.custom_metrics) == 1_001
    assert row.custom_metrics["pipespan.cut"] == 201
