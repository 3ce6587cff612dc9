"""Log records become the same rows on both ways, whatever is in them."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from pipespan.model.clean import clean_value
from pipespan.model.rows import LogRow
from pipespan.otel.bridged import bridge_logger
from pipespan.otel.convert import code_of, log_row_from_otel, log_row_from_stdlib, severity_of_level
from pipespan.store.copytext import PreparedJson, decode_line, encode_row
from tests.otel.doubles import Node

NODE = Node()
SPAN = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
ODD_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.sets(st.integers())
    | st.just(object)
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def make_record(
    message: str = "read %s", *args: object, level: int = logging.INFO, **extra: Any
) -> logging.LogRecord:
    record = logging.getLogger("app").makeRecord(
        "app.load", level, "/srv/app/load.py", 7, message, args, None, "read"
    )
    vars(record).update(extra)
    return record


def via_sdk(record: logging.LogRecord, row: LogRow, node: Node | None = NODE) -> LogRow:
    """Send `record` the way of the Logs API and return the row that comes out at its end."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = bridge_logger(provider, record.name)
    assert logger is not None
    logger.emit(record, row, node, Context(), SPAN)
    (finished,) = exporter.get_finished_logs()
    scope = finished.instrumentation_scope
    assert scope is not None
    return log_row_from_otel(finished.log_record, scope.name, NODE)


@given(
    message=st.text(st.characters()),
    level=st.integers(-5, 200),
    extra=st.dictionaries(st.text(min_size=1, max_size=8).map("x".__add__), ODD_VALUES, max_size=4),
    performance=st.none() | st.dictionaries(st.text(min_size=1), st.floats(), max_size=3),
)
def test_both_ways_give_the_same_row(
    message: str, level: int, extra: dict[str, Any], performance: dict[str, float] | None
) -> None:
    """A record of `logging` has one row, whether it is converted at once or after the SDK."""
    if performance is not None:
        extra["pipespan.performance"] = performance
    record = make_record(message, level=level, **extra)
    row = log_row_from_stdlib(record, NODE, SPAN)
    assert via_sdk(record, row) == row
    assert decode_line(LogRow, encode_row(row)).message == row.message.replace("\x00", "\u2400")


@given(ODD_VALUES)
def test_cleaned_values_stay_as_they_are(value: object) -> None:
    """Cleaning twice is cleaning once, and gives nothing that JSON or OTLP has no form for."""
    cleaned = clean_value(value)
    assert clean_value(cleaned) == cleaned
    assert type(cleaned) in {type(None), bool, int, float, str, list, dict}


def test_row_of_a_plain_record() -> None:
    """Each column is filled from where the record says it."""
    record = make_record("read %s of %d", "a", 3)
    row = log_row_from_stdlib(record, NODE, SPAN, code_of(record, "app.load.Reader.read"))
    assert (row.experiment_id, row.job_id, row.node_id) == (NODE.experiment_id, NODE.job_id, NODE.node_id)
    assert (row.level, row.severity_number, row.logger_name) == ("INFO", 9, "app.load")
    assert row.message == "read a of 3"
    assert row.context == {
        "code.file.path": "/srv/app/load.py",
        "code.line.number": 7,
        "code.function.name": "app.load.Reader.read",
    }
    assert (row.trace_id, row.span_id) == (f"{0xA1:032x}", f"{0xB2:016x}")
    assert (row.traceback, row.error_type, row.performance) == (None, None, None)


def test_ids_of_no_span_are_absent() -> None:
    """A record outside any span has no ids rather than zeros."""
    row = log_row_from_stdlib(make_record(), NODE, INVALID_SPAN_CONTEXT)
    assert (row.trace_id, row.span_id) == (None, None)


def test_performance_has_its_own_column() -> None:
    """What is given under the performance key leaves the context."""
    extra: dict[str, Any] = {"pipespan.performance": {"duration_s": 1.5}, "user": "x"}
    row = log_row_from_stdlib(make_record(**extra), NODE)
    assert row.performance == {"duration_s": 1.5}
    assert row.context is not None
    assert row.context["user"] == "x"
    assert "pipespan.performance" not in row.context


def exception_info(error: BaseException) -> Any:
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise error from cause
    except BaseException:  # noqa: BLE001 - its traceback is wanted
        return sys.exc_info()


def test_exception_keeps_causes_and_qualified_type() -> None:
    """The traceback holds the whole chain, and the type its module."""

    class BrokenShardError(RuntimeError):
        """Raised by nobody else."""

    record = make_record("failed", level=logging.ERROR)
    record.exc_info = exception_info(BrokenShardError("shard 3"))
    row = log_row_from_stdlib(record, NODE, SPAN)
    assert row.error_type == f"{__name__}.{BrokenShardError.__qualname__}"
    assert row.traceback is not None
    assert "KeyError: 'cause'" in row.traceback
    assert "direct cause" in row.traceback
    assert row.traceback.endswith("BrokenShardError: shard 3\n")
    assert via_sdk(record, row) == row


def test_os_error_keeps_its_whole_message() -> None:
    """Over OTLP the message of an OSError is its text, not its first argument."""
    record = make_record("failed", level=logging.ERROR)
    record.exc_info = exception_info(OSError(2, "no such file", "a.txt"))
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = bridge_logger(provider, record.name)
    assert logger is not None
    logger.emit(record, log_row_from_stdlib(record, NODE), NODE, Context(), SPAN)
    attributes = exporter.get_finished_logs()[0].log_record.attributes or {}
    assert attributes["exception.message"] == "[Errno 2] no such file: 'a.txt'"
    assert attributes["exception.type"] == "FileNotFoundError"


@pytest.mark.parametrize("info", [(None, None, None), True, "text", (1, 2)])
def test_empty_or_odd_exc_info_is_no_exception(info: object) -> None:
    """`logger.exception` outside an except block, and records from elsewhere, give a row without a traceback."""
    record = make_record(exc_info=info)
    row = log_row_from_stdlib(record, NODE)
    assert (row.traceback, row.error_type) == (None, None)


def test_traceback_text_of_another_process_is_kept() -> None:
    """A record that came over a socket has only the text of its traceback."""
    row = log_row_from_stdlib(make_record(exc_text="Traceback ...\nValueError: x"), NODE)
    assert row.traceback == "Traceback ...\nValueError: x"


def test_broken_message_and_exception_still_give_a_row() -> None:
    """Arguments that do not fit, and an exception that cannot be printed, are told and do not raise."""

    class Unprintable(Exception):  # noqa: N818 - a double
        def __str__(self) -> str:
            raise RuntimeError

    record = make_record("%d files", "many")
    record.exc_info = exception_info(Unprintable())
    row = log_row_from_stdlib(record, NODE)
    assert "%d files" in row.message
    assert "many" in row.message
    assert row.traceback is not None


@pytest.mark.parametrize(
    ("levelno", "expected"),
    [(0, 0), (5, 1), (10, 5), (13, 8), (20, 9), (25, 12), (30, 13), (40, 17), (50, 21), (53, 24), (90, 24)],
)
def test_severity_follows_the_level(levelno: int, expected: int) -> None:
    """Levels map as in the data model of OTel logs, custom ones in between."""
    assert severity_of_level(levelno) == expected


def test_odd_values_become_readable() -> None:
    """Cycles, big integers, NaN and lone surrogates get a form that every receiver takes."""
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    assert clean_value(cycle) == {"self": "<cycle>"}
    assert clean_value(2**64) == str(2**64)
    assert str(clean_value(10**5000)).startswith("0x")
    assert clean_value(math.nan) == "nan"
    assert clean_value("\ud800") == "<U+D800>"
    assert clean_value({"": 1}) == {"(empty)": 1}


def emit_direct(**fields: Any) -> LogRow:
    """Emit through the Logs API as a program does, and return the row."""
    seen: list[ReadWriteLogRecord] = []

    class Keep(SimpleLogRecordProcessor):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            seen.append(log_record)

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Keep(InMemoryLogRecordExporter()))
    provider.get_logger("lib").emit(**fields)
    return log_row_from_otel(seen[0].log_record, "lib", NODE)


def test_row_of_a_record_of_the_api() -> None:
    """Severity, body, attributes, exception and ids come from the API's record."""
    context = set_span_in_context(NonRecordingSpan(SPAN), Context())
    row = emit_direct(
        timestamp=5,
        context=context,
        severity_number=SeverityNumber.ERROR2,
        body={"a": [1, b"x"]},
        attributes={"k": (1, 2), "pipespan.performance.duration_s": 2.0},
        event_name="shard.lost",
        exception=OSError(2, "gone"),
    )
    assert (row.timestamp, row.level, row.severity_number, row.logger_name) == (5, "ERROR", 18, "lib")
    assert row.message == '{"a":[1,"x"]}'
    assert row.context == {"k": [1, 2], "event.name": "shard.lost"}
    assert row.performance == {"duration_s": 2.0}
    assert row.error_type == "FileNotFoundError"
    assert row.traceback is not None
    assert (row.trace_id, row.span_id) == (f"{0xA1:032x}", f"{0xB2:016x}")


def test_record_without_body_says_what_it_can() -> None:
    """An exception's message, else the event's name, stands for a missing body; observed time for the time."""
    assert emit_direct(exception=ValueError("boom")).message == "boom"
    row = emit_direct(event_name="only.this")
    assert row.message == "only.this"
    assert row.timestamp > 0
    assert row.level == "DEBUG"


def test_attributes_of_one_line_are_each_records_own() -> None:
    """One line of code logs for two nodes and two processes; a processor that changes one record changes no other."""
    exporter = InMemoryLogRecordExporter()

    class Marks(LogRecordProcessor):
        def on_emit(self, log_record: ReadWriteLogRecord) -> None:
            attributes = log_record.log_record.attributes
            assert isinstance(attributes, dict)
            assert "seen" not in attributes
            attributes["seen"] = True

        def shutdown(self) -> None: ...

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Marks())
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = bridge_logger(provider, "app")
    assert logger is not None
    code = PreparedJson({"code.line.number": 7})
    for node_id, pid in (("run/a", 1), ("run/b", 1), ("run/b", 2), ("run/b", 2)):
        record, node = make_record(), Node(node_id=node_id)
        record.process = pid
        logger.emit(record, log_row_from_stdlib(record, node, SPAN, code), node, Context(), SPAN)
    seen = [dict(one.log_record.attributes or {}) for one in exporter.get_finished_logs()]
    assert [(one["pipespan.node.id"], one["process.pid"]) for one in seen] == [
        ("run/a", 1), ("run/b", 1), ("run/b", 2), ("run/b", 2),
    ]  # fmt: skip
    assert all(one["code.line.number"] == 7 for one in seen)
