"""Programs that have OpenTelemetry already, in one way or another: pipespan joins it and spoils nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import psycopg
import pytest

import pipespan
from tests.wiring.otlpsink import running_sink
from tests.wiring.programs import Programs

OWN_SDK = """
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "mine"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("mine")
    with tracer.start_as_current_span("request"):
        with pipespan.pipeline("run"), tracer.start_as_current_span("query"):
            logging.getLogger("app").warning("inside")
            with pipespan.step("s"):
                pass
    spans = {span.name: span for span in memory.get_finished_spans()}
    names = {span.context.span_id: name for name, span in spans.items()}
    import json
    print(json.dumps({name: names.get(span.parent.span_id) if span.parent else None for name, span in spans.items()}))
"""


def test_a_program_with_an_sdk_of_its_own(programs: Programs) -> None:
    """Spans of both stand in one tree; the rows know the nodes alone, and the record is the nearest node's."""
    ran = programs.run(OWN_SDK)
    assert json.loads(ran.out) == {"request": None, "run": "request", "query": "run", "s": "query"}
    seen = programs.delivered()
    assert seen.statuses() == {"run": "completed", "run/s": "completed"}
    (record,) = seen.logs()
    assert (record.message, record.node_id) == ("inside", "run")


LOGFIRE = """
    import json, logfire
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    memory = InMemorySpanExporter()
    logfire.configure(
        send_to_logfire=False, console=False, metrics=False, inspect_arguments=False,
        additional_span_processors=[SimpleSpanProcessor(memory)],
    )
    with logfire.span("outer"):
        with pipespan.pipeline("run") as run, run.step("s", total=1) as step:
            with logfire.span("inner"):
                logging.getLogger("app").warning("inside")
            step.advance()
    pipespan.flush(5)
    logfire.shutdown()
    spans = {span.name: span for span in memory.get_finished_spans()}
    names = {span.context.span_id: name for name, span in spans.items()}
    print(json.dumps({
        "parents": {name: names.get(span.parent.span_id) if span.parent else None for name, span in spans.items()},
        "scope": spans["run"].instrumentation_scope.name,
        "progress": spans["s"].attributes.get("pipespan.progress.completed"),
    }))
"""


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_program_with_logfire(programs: Programs, *, is_asked: bool) -> None:
    """Nodes are among Logfire's spans, and where the environment asks for OTLP Logfire is what sends."""
    pytest.importorskip("logfire")
    with running_sink() as sink:
        ran = programs.run(LOGFIRE, **(sink.endpoint("http/protobuf") if is_asked else {}))
    assert json.loads(ran.out) == {
        "parents": {"outer": None, "run": "outer", "s": "run", "inner": "s"}, "scope": "pipespan", "progress": 1,
    }  # fmt: skip
    seen = programs.delivered()
    assert seen.statuses() == {"run": "completed", "run/s": "completed"}
    assert [(record.message, record.node_id) for record in seen.logs()] == [("inside", "run/s")]
    names = Counter(span.name for span in sink.spans())
    assert names == ({"outer": 1, "run": 1, "s": 1, "inner": 1} if is_asked else {})


FOREIGN = """
    from opentelemetry import trace
    class ForeignSpan(trace.NonRecordingSpan): pass
    class ForeignTracer(trace.Tracer):
        def start_span(self, name, *args, **kwargs):
            return ForeignSpan(trace.SpanContext(7, 9, False, trace.TraceFlags(1)))
        def start_as_current_span(self, name, *args, **kwargs):
            return trace.use_span(self.start_span(name))
    class Foreign(trace.TracerProvider):
        def get_tracer(self, *args, **kwargs): return ForeignTracer()
    trace.set_tracer_provider(Foreign())
    with trace.get_tracer("theirs").start_as_current_span("request"):
        with pipespan.pipeline("run") as run, run.step("s"):
            logging.getLogger("app").warning("inside")
    print(type(trace.get_tracer_provider()).__name__)
"""


def test_a_program_with_a_foreign_provider(programs: Programs) -> None:
    """It stays as it is; pipespan sends what the environment asks for by itself, in the trace that it found."""
    with running_sink() as sink:
        ran = programs.run(FOREIGN, **sink.endpoint("grpc"))
    assert ran.out.strip() == "Foreign"
    spans = {span.name: span for span in sink.spans()}
    assert set(spans) == {"run", "s"}
    assert {int.from_bytes(span.trace_id, "big") for span in spans.values()} == {7}
    assert int.from_bytes(spans["run"].parent_span_id, "big") == 9
    assert spans["s"].parent_span_id == spans["run"].span_id
    seen = programs.delivered()
    assert seen.statuses() == {"run": "completed", "run/s": "completed"}
    assert seen.messages() == ["inside"]


INSTRUMENTED = """
    from opentelemetry import metrics, trace
    from opentelemetry._logs import get_logger_provider
    print(type(trace.get_tracer_provider()).__name__)
    with pipespan.pipeline("run") as run, run.step("s", total=2) as step:
        with trace.get_tracer("mine").start_as_current_span("query"):
            logging.getLogger("app").warning("inside")
        metrics.get_meter("mine").create_counter("made").add(3)
        step.advance(2)
        metrics.get_meter_provider().force_flush()
        # Exported while the pipeline still runs, as in any that runs for long.
        get_logger_provider().force_flush()
"""


@pytest.mark.parametrize("exporters", ["otlp", "pipespan,otlp"])
def test_under_opentelemetry_instrument(
    connected: Programs, dsn: str, tmp_path: Path, exporters: str
) -> None:
    """`opentelemetry-instrument` sets up all providers: both ways out get all of it, and the tables get it once."""
    pytest.importorskip("opentelemetry.distro")
    script = tmp_path / "instrumented.py"
    script.write_text("import logging, pipespan\n" + textwrap.dedent(INSTRUMENTED))
    with running_sink() as sink:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))},
            "PYTHONPATH": str(Path(pipespan.__file__).parents[1]), "PIPESPAN_WATCHER": "0",
            "PIPESPAN_STATE_DIR": str(connected.state_dir), "PIPESPAN_DSN": dsn,
            "PIPESPAN_EXIT_TIMEOUT_S": "30", **sink.endpoint("http/protobuf"),
            **{f"OTEL_{signal}_EXPORTER": exporters for signal in ("TRACES", "LOGS", "METRICS")},
        }  # fmt: skip
        instrument = (
            "from opentelemetry.instrumentation.auto_instrumentation import run; run()"  # the command's own
        )
        command = [sys.executable, "-c", instrument, sys.executable, str(script)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "TracerProvider", done.stderr
    assert "wait in the spool" not in done.stderr
    assert Counter(span.name for span in sink.spans()) == {"run": 1, "s": 1, "query": 1}
    assert Counter(one.body.string_value for one in sink.logs() if not one.event_name) == {"inside": 1}
    assert "pipespan.node.end" in {name for name, _ in sink.events()}
    assert {point.as_int for point in sink.metrics()["made"]} == {3}
    with psycopg.connect(dsn) as connection:
        nodes = connection.execute(
            "select node_id, status, completed_units from pipeline_progress order by 1"
        )
        assert nodes.fetchall() == [("run", "completed", 0), ("run/s", "completed", 2)]
        assert connection.execute("select message, node_id from pipeline_logs").fetchall() == [
            ("inside", "run/s")
        ]
        made = connection.execute(
            "select custom_metrics -> 'made' from pipeline_metrics where custom_metrics ? 'made'"
        )
        values = {row[0] for row in made.fetchall()}
    assert values == ({3} if "pipespan" in exporters else set())
