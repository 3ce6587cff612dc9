"""Records that say no more than a message take a shorter way, to the same row and the same record over OTLP."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context, attach, detach, set_value
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from pipespan.model.redact import Redactor
from pipespan.model.redact_rows import RowGate
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.redact_values import MARKER
from pipespan.model.rows import LogRow
from pipespan.model.status import LogLevel
from pipespan.otel import bridged, handler
from pipespan.otel.convert import code_of, log_row_from_otel, log_row_from_stdlib
from pipespan.otel.handler import RowLogHandler
from pipespan.store.copytext import decode_line, encode_row
from tests.otel.doubles import NODE_KEY, Node, Rows, find_node

SPANS = (SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1)), INVALID_SPAN_CONTEXT)
# One object each, as a program has them: the handler knows again where the record before came from.
CURRENT = {span.span_id: NonRecordingSpan(span) for span in SPANS}
NODES = tuple(Node(node_id=node_id) for node_id in ("run", "run/a\\b", "run/zeile\n"))
SECRET = "s3cr3t-of-the-house"  # noqa: S105 - a double


class Sorted(Rows):
    """A sink that knows which rows came by their line."""

    def __init__(self) -> None:
        super().__init__()
        self.by_line: list[str] = []

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        """Keep the row of `line`, and the line."""
        super().write_log(experiment_id, level, message, line)
        self.by_line.append(line.decode())


class Bridge:
    """A handler between a sink and an exporter, and what came to both."""

    def __init__(self, gate: RowGate | None = None) -> None:
        self.rows = Sorted()
        self.exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.handler = RowLogHandler(find_node, self.rows, provider, gate)

    def log(self, record: logging.LogRecord, node: Node, span: SpanContext = SPANS[0]) -> None:
        """Have `record` logged inside of `node` and `span`."""
        context = set_span_in_context(CURRENT[span.span_id], set_value(NODE_KEY, node, Context()))
        token = attach(context)
        try:
            self.handler.handle(record)
        finally:
            detach(token)

    def told(self) -> list[LogRow]:
        """Return the rows of what was exported."""
        rows = []
        for one in self.exporter.get_finished_logs():
            assert one.instrumentation_scope is not None
            attributes = one.log_record.attributes or {}
            node = Node(node_id=str(attributes["pipespan.node.id"]))
            rows.append(log_row_from_otel(one.log_record, one.instrumentation_scope.name, node))
        return rows


def make(
    name: str, message: str, level: int = logging.INFO, line: int = 7, **extra: Any
) -> logging.LogRecord:
    """Return a record of a function that is not on the stack."""
    record = logging.LogRecord(name, level, "/srv/app/load.py", line, message, (), None, "read")
    vars(record).update(extra)
    return record


RECORDS = st.builds(
    make,
    st.sampled_from(["app", "app.load", "odd\tname"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    level=st.sampled_from([10, 20, 30, 35, 40, 50]),
    line=st.integers(1, 2),
)
EXTRAS = st.sampled_from([{}, {"shard": 3}, {"threadName": "loader"}, {"stack_info": "Stack"}])


@given(st.lists(st.tuples(RECORDS, EXTRAS, st.sampled_from(NODES), st.sampled_from(SPANS))), st.booleans())
def test_both_ways_are_one(
    logged: list[tuple[logging.LogRecord, dict[str, Any], Node, SpanContext]], is_gated: bool
) -> None:
    """Each record, in whatever order they come, has the row and the record over OTLP that it has by itself."""
    bridge = Bridge(RowGate(Redactor(RedactSpec())) if is_gated else None)
    wanted = []
    for record, extra, node, span in logged:
        vars(record).update(extra)
        bridge.log(record, node, span)
        wanted.append(log_row_from_stdlib(record, node, span, code_of(record, None)))
    assert [encode_row(row) for row in bridge.rows.logs] == [encode_row(row) for row in wanted]
    assert bridge.told() == wanted


def test_a_plain_record_takes_the_short_way_and_no_other_does() -> None:
    """What carries more than a message, or tells of an error, is looked at column by column."""
    bridge = Bridge()
    bridge.log(make("app", "plain"), Node())
    bridge.log(make("app", "two\nlines\\"), Node())
    bridge.log(make("app", "error", logging.ERROR), Node())
    bridge.log(make("app", "more", shard=3), Node())
    bridge.log(make("app", "elsewhere", threadName="loader"), Node())
    assert [decode_line(LogRow, line.encode()).message for line in bridge.rows.by_line] == [
        "plain", "two\nlines\\",
    ]  # fmt: skip
    assert len(bridge.rows.logs) == 5


@pytest.mark.parametrize(
    ("record", "node"),
    [
        (make("app", f"with {SECRET}"), Node()),
        (make(f"app.{SECRET}", "by its logger"), Node()),
        (make("app", "by its node"), Node(node_id=f"run/{SECRET}")),
        (make("app", "by its file", pathname=f"/srv/{SECRET}/load.py"), Node()),
    ],
)
def test_a_secret_never_takes_the_short_way(record: logging.LogRecord, node: Node) -> None:
    """Wherever it stands, and however often the record comes: the line is not prepared, OTLP has the marker."""
    bridge = Bridge(RowGate(Redactor(RedactSpec(), [SECRET])))
    for _ in range(3):
        bridge.log(record, node)
    assert bridge.rows.by_line == []
    assert len(bridge.rows.logs) == 3
    shown = [(one.log_record.body, one.log_record.attributes) for one in bridge.exporter.get_finished_logs()]
    assert SECRET not in str(shown) or SECRET in record.name
    assert MARKER in str(shown) or SECRET in record.name


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that makes up code, nodes or both has its rows, and what was kept for them goes."""
    monkeypatch.setattr(handler, "MAX_PLACES", 3)
    monkeypatch.setattr(handler, "MAX_OWNERS", 3)
    monkeypatch.setattr(bridged, "MAX_KNOWN", 3)
    bridge = Bridge()
    wanted = []
    for number in range(20):
        node_id, line = f"run/{number % 7}", number % 5
        bridge.log(make("app", f"m{number}", line=line), Node(node_id=node_id))
        wanted.append((node_id, f"m{number}", line))
    for rows in (bridge.rows.logs, bridge.told()):
        said = [(row.node_id, row.message, (row.context or {})["code.line.number"]) for row in rows]
        assert said == wanted
