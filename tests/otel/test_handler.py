"""The handler takes records in without harming the program, however they come and whatever they carry."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import attach, detach, set_value
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord
from opentelemetry.sdk._logs._internal import LogRecordLimits
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)

from pipespan.model.rows import Row
from pipespan.otel.handler import SUPPRESS_KEY, RowLogHandler
from pipespan.otel.processor import RowLogRecordProcessor
from pipespan.otel.spans import PlainSpans
from pipespan.record.context import SPAN_KEY
from pipespan.store.copytext import encode_row
from tests.otel.doubles import Node, Rows, find_node, inside

LoggerOf = Callable[..., logging.Logger]


class Exported:
    """A provider with our processor and an in-memory exporter behind it."""

    def __init__(self, rows: Rows, *, limits: LogRecordLimits | None = None) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False, log_record_limits=limits)
        self.provider.add_log_record_processor(RowLogRecordProcessor(find_node, rows))
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    def attributes(self) -> dict[str, Any]:
        (finished,) = self.exporter.get_finished_logs()
        return dict(finished.log_record.attributes or {})


def test_record_becomes_a_row(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A record made in a node is written at once, with the qualified name of the function that made it."""

    class Loader:
        def read(self) -> None:
            logger_of(RowLogHandler(find_node, rows)).info("read %d", 3)

    Loader().read()
    (row,) = rows.logs
    assert (row.node_id, row.message, row.level) == (in_node.node_id, "read 3", "INFO")
    assert row.context is not None
    assert row.context["code.function.name"].startswith(f"{__name__}.")
    assert row.context["code.function.name"].endswith("read")


def test_record_outside_any_pipeline_is_no_row(rows: Rows, logger_of: LoggerOf) -> None:
    """Without a node there is no experiment to write to; over OTLP the record goes all the same."""
    exported = Exported(rows)
    logger_of(RowLogHandler(find_node, rows, exported.provider)).warning("alone")
    assert rows == []
    assert "pipespan.node.id" not in exported.attributes()


def test_record_goes_over_the_api_with_its_stamps(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """With an SDK each record is exported once and has one row; experiment, node and stage are on it."""
    exported = Exported(rows)
    logger_of(RowLogHandler(find_node, rows, exported.provider)).warning("hot", extra={"celsius": 91})
    attributes = exported.attributes()
    assert attributes["pipespan.experiment.id"] == in_node.experiment_id
    assert attributes["pipespan.node.id"] == in_node.node_id
    assert attributes["pipespan.stage"] == "load"
    assert attributes["celsius"] == 91
    assert len(rows.logs) == 1
    (finished,) = exported.exporter.get_finished_logs()
    assert finished.log_record.severity_text == "WARN"
    assert finished.log_record.severity_number is SeverityNumber.WARN
    assert finished.instrumentation_scope is not None
    assert finished.instrumentation_scope.name == "app.load"


def test_batch_processor_takes_our_records(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """What is emitted survives the copy that the SDK's batch processor makes."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger_of(RowLogHandler(find_node, rows, provider)).info("one")
    provider.shutdown()
    (finished,) = exporter.get_finished_logs()
    assert finished.log_record.body == "one"
    assert finished.resource == provider.resource


def test_official_encoder_takes_odd_values(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """Whatever is in `extra`, the OTLP encoder accepts the record and nothing warns."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    exported = Exported(rows)
    cycle: list[Any] = []
    cycle.append(cycle)
    odd = {
        "blob": b"\xff\x00",
        "set": {1, "a"},
        "cycle": cycle,
        "nan": float("nan"),
        "huge": 10**400,
        "surrogate": "\ud800",
        "nested": {1: {"": object()}},
        "": "no key",
        "pipespan.node.id": "forged",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger_of(RowLogHandler(find_node, rows, exported.provider)).info("odd \ud800", extra=odd)
    assert encode_logs(exported.exporter.get_finished_logs()).ByteSize() > 0
    assert encode_row(rows[0])
    assert exported.attributes()["pipespan.node.id"] == in_node.node_id


def test_attribute_limits_keep_the_identity(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """More extras than the SDK allows are cut from the end; the row has them all."""
    exported = Exported(rows, limits=LogRecordLimits(max_log_record_attributes=8))
    logger = logger_of(RowLogHandler(find_node, rows, exported.provider))
    logger.info("many", extra={f"key{number}": number for number in range(200)})
    attributes = exported.attributes()
    assert len(attributes) == 8
    assert attributes["pipespan.experiment.id"] == in_node.experiment_id
    assert rows.logs[0].context is not None
    assert rows.logs[0].context["key199"] == 199


def test_value_length_limit_is_the_sdks(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A limit on the length of values holds over OTLP, not in the row."""
    exported = Exported(rows, limits=LogRecordLimits(max_log_record_attribute_length=40))
    logger_of(RowLogHandler(find_node, rows, exported.provider)).info("long", extra={"text": "x" * 100})
    assert exported.attributes()["text"] == "x" * 40
    assert rows.logs[0].context is not None
    assert rows.logs[0].context["text"] == "x" * 100


def test_logging_inside_the_sink_is_not_taken(in_node: Node, logger_of: LoggerOf) -> None:
    """A sink that logs gets no record of its own making, and the record outside is written once."""

    class Chatty(Rows):
        def append(self, row: Row) -> None:
            super().append(row)
            logger.warning("inside")

    rows = Chatty()
    logger = logger_of(RowLogHandler(find_node, rows))
    logger.warning("outside")
    logger.error("outside, as a row")
    assert [row.message for row in rows.logs] == ["outside", "outside, as a row"]


def test_processor_and_repr_that_log_do_not_recurse(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A processor of the program that logs, and values that log while printed, end after one record."""

    class Chatty(RowLogRecordProcessor):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            logger.error("from the processor")
            super().on_emit(log_record)

    class Talking:
        def __repr__(self) -> str:
            logger.error("from repr")
            return "talking"

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Chatty(find_node, rows))
    logger = logger_of(RowLogHandler(find_node, rows, provider))
    logger.info("value %r", "x", extra={"value": Talking()})
    assert [row.message for row in rows.logs] == ["value 'x'"]


def test_threads_that_log_together_do_not_wait_for_each_other(in_node: Node, logger_of: LoggerOf) -> None:
    """A thread that is stuck in the sink holds no lock that another thread's record needs."""
    entered, go_on = threading.Event(), threading.Event()
    written: list[str] = []

    class Slow(Rows):
        def append(self, row: Any) -> None:
            if row.message == "slow":
                entered.set()
                go_on.wait(10)
            written.append(row.message)

    logger = logger_of(RowLogHandler(lambda context: in_node, Slow()))
    slow = threading.Thread(target=logger.info, args=("slow",))
    slow.start()
    assert entered.wait(10)
    logger.info("quick")
    assert written == ["quick"]
    go_on.set()
    slow.join(10)
    assert written == ["quick", "slow"]


def test_failing_sink_finder_and_filter_raise_nothing(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """Trouble of ours is counted and never reaches the line that logs."""

    class Broken(Rows):
        def append(self, row: Row) -> None:
            raise OSError("disk")

    def no_finder(context: object) -> Node:
        raise RuntimeError("no node")

    for handler in (RowLogHandler(find_node, Broken()), RowLogHandler(no_finder, rows)):
        logger_of(handler).info("x")
        assert handler.failure_count == 1


def test_filters_of_the_handler_are_asked(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A filter that a program adds keeps records out."""
    handler = RowLogHandler(find_node, rows)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger_of(handler).info("secret")
    assert rows == []


def test_suppressed_context_is_left_alone(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """What an exporter's thread of the SDK logs is not shipped again."""
    token = attach(set_value(SUPPRESS_KEY, True))
    try:
        logger_of(RowLogHandler(find_node, rows)).error("export failed")
    finally:
        detach(token)
    assert rows == []


@pytest.mark.parametrize(
    ("thread_name", "logger_name", "count"),
    [
        ("pipespan-shipper", "urllib3.connectionpool", 0),
        ("pipespan-shipper", "opentelemetry.exporter.otlp", 0),
        ("pipespan-ticker", "app.callbacks", 1),
        ("worker-1", "urllib3.connectionpool", 1),
        ("worker-1", "pipespan.internal.spool", 0),
        ("worker-1", "pipespan.internals", 1),
    ],
)
def test_own_traffic_is_not_recorded(
    thread_name: str, logger_name: str, count: int, rows: Rows, in_node: Node, logger_of: LoggerOf
) -> None:
    """Our threads' transport and our internals stay out; callbacks and other threads' requests stay in."""
    logger = logger_of(RowLogHandler(lambda context: in_node, rows), logger_name)
    thread = threading.Thread(target=logger.warning, args=("x",), name=thread_name)
    thread.start()
    thread.join(10)
    assert len(rows) == count


def test_thread_is_told_unless_it_is_the_main_one(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A row names the thread where that says something."""
    logger = logger_of(RowLogHandler(lambda context: in_node, rows))
    logger.info("main")
    thread = threading.Thread(target=logger.info, args=("other",), name="loader-7")
    thread.start()
    thread.join(10)
    contexts = [row.context or {} for row in rows.logs]
    assert "thread.name" not in contexts[0]
    assert contexts[1]["thread.name"] == "loader-7"


def test_ids_come_from_the_span_around(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """A record carries trace and span id of where it was made, also in asyncio tasks."""
    spans = PlainSpans()
    handle = spans.start(
        "x", parent=otel_context.get_current(), start_time_unix_ns=0, attributes={}, trace_id=0xABC
    )
    logger = logger_of(RowLogHandler(find_node, rows))

    async def work() -> None:
        logger.info("inside")

    token = attach(inside(handle))
    asyncio.run(work())
    detach(token)
    assert rows.logs[0].trace_id == f"{0xABC:032x}"
    assert rows.logs[0].span_id == f"{handle.span_id:016x}"


def test_what_is_no_span_has_no_ids(rows: Rows, in_node: Node, logger_of: LoggerOf) -> None:
    """Where somebody put something else in the place of the current span, the record is there all the same."""
    for other in (None, "a span"):
        token = attach(set_value(SPAN_KEY, other))
        try:
            logger_of(RowLogHandler(find_node, rows)).info("said")
        finally:
            detach(token)
    assert [(row.node_id, row.message, row.trace_id) for row in rows.logs] == [
        (in_node.node_id, "said", None)
    ] * 2


def test_record_of_the_logs_api_becomes_a_row(rows: Rows, in_node: Node) -> None:
    """What a program emits without `logging` is written by the processor, with its event name and exception."""
    exported = Exported(rows)
    exported.provider.get_logger("lib").emit(
        severity_number=SeverityNumber.ERROR, body="direct", event_name="lib.failed", exception=KeyError("k")
    )
    (row,) = rows.logs
    assert (row.message, row.level, row.error_type) == ("direct", "ERROR", "KeyError")
    assert row.context == {"event.name": "lib.failed"}


def test_bridge_of_the_contrib_package_feeds_the_processor(
    rows: Rows, in_node: Node, logger_of: LoggerOf
) -> None:
    """With somebody else's bridge in place, the processor alone makes the rows."""
    exported = Exported(rows)
    logger_of(LoggingHandler(logger_provider=exported.provider)).error("theirs", extra={"k": 1})
    (row,) = rows.logs
    assert (row.message, row.level, row.context) == ("theirs", "ERROR", {"k": 1})


def test_processor_never_raises_and_ignores_what_belongs_to_nobody(rows: Rows) -> None:
    """Records outside pipelines and a broken sink leave the emitting line in peace."""

    class Broken(Rows):
        def append(self, row: Row) -> None:
            raise OSError("disk")

    provider = LoggerProvider(shutdown_on_exit=False)
    broken = RowLogRecordProcessor(lambda context: Node(), Broken())
    provider.add_log_record_processor(RowLogRecordProcessor(find_node, rows))
    provider.add_log_record_processor(broken)
    provider.get_logger("lib").emit(body="x")
    assert rows == []
    assert broken.failure_count == 1


def test_made_up_logger_names_are_forgotten(
    rows: Rows, in_node: Node, logger_of: LoggerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with endless logger names does not fill the memory."""
    monkeypatch.setattr("pipespan.otel.handler.MAX_TARGETS", 3)
    handler = RowLogHandler(find_node, rows)
    for number in range(10):
        logger_of(handler, f"job-{number}").info("x")
    assert len(rows) == 10
    assert len(handler._targets) <= 3
