"""A user's pipeline is checked with the in-memory exporters of OpenTelemetry alone, as a user's own tests would."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

PROGRAM = textwrap.dedent(
    """
    import json, logging, sys, time
    from opentelemetry import metrics, trace
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, logs, reader = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(traces)
    records = LoggerProvider()
    records.add_log_record_processor(SimpleLogRecordProcessor(logs))
    set_logger_provider(records)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))

    import pipespan

    def measured():
        data = reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return {m.name: m.data.data_points[0].value for m in found if m.data.data_points}

    with pipespan.pipeline("train") as run:
        with run.phase("load") as load:
            for _ in load.track(range(3), unit="files"):
                pass
            pipespan.get_logger("app").info("loaded", rows=3)
        try:
            with run.phase("fit"), pipespan.step("epoch"):
                raise OSError(2, "boom")
        except OSError:
            pass
        deadline = time.monotonic() + 10
        while "process.memory.usage" not in (figures := measured()) and time.monotonic() < deadline:
            time.sleep(0.02)
    pipespan.flush()

    print(json.dumps({
        "spans": {
            span.name: {
                "id": span.context.span_id, "trace": span.context.trace_id,
                "parent": span.parent.span_id if span.parent else None,
                "status": span.status.status_code.name, "attributes": dict(span.attributes),
            }
            for span in spans.get_finished_spans()
        },
        "logs": [
            {
                "body": one.log_record.body, "span": one.log_record.span_id,
                "severity": one.log_record.severity_number.name, "attributes": dict(one.log_record.attributes),
                "event": one.log_record.event_name,
            }
            for one in logs.get_finished_logs()
        ],
        "figures": figures,
    }, default=str))
    """
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the exporters hold after the program, which has global providers and so is one of its own."""
    folder: Path = tmp_path_factory.mktemp("state")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "PIPESPAN_STATE_DIR": str(folder), "PIPESPAN_STORE": "none",
             "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_tree_is_in_the_spans(seen: dict[str, Any]) -> None:
    """Parents, progress and outcome of nodes are those of their spans, all in one trace."""
    spans = seen["spans"]
    assert set(spans) == {"train", "load", "fit", "epoch"}
    assert [spans[name]["parent"] for name in ("train", "load", "fit", "epoch")] == [
        None, spans["train"]["id"], spans["train"]["id"], spans["fit"]["id"],
    ]  # fmt: skip
    assert len({span["trace"] for span in spans.values()}) == 1
    assert spans["load"]["attributes"] == {
        "pipespan.node.id": "train/load",
        "pipespan.node.level": "phase",
        "pipespan.progress.completed": 3,
        "pipespan.progress.total": 3,
        "pipespan.progress.unit": "files",
    }
    assert [spans[name]["status"] for name in ("train", "load", "fit", "epoch")] == [
        "UNSET", "UNSET", "ERROR", "ERROR",
    ]  # fmt: skip
    assert spans["epoch"]["attributes"]["error.type"] == "FileNotFoundError"


def test_logs_and_the_traceback_are_in_the_records(seen: dict[str, Any]) -> None:
    """A record names its node and its span; an exception is told once, whole, at the innermost node."""
    loaded, failed = (one for one in seen["logs"] if one["event"] is None)
    assert (loaded["body"], loaded["severity"], loaded["span"]) == (
        "loaded", "INFO", seen["spans"]["load"]["id"],
    )  # fmt: skip
    assert (loaded["attributes"]["rows"], loaded["attributes"]["pipespan.node.id"]) == (3, "train/load")
    assert (failed["severity"], failed["span"]) == ("ERROR", seen["spans"]["epoch"]["id"])
    assert failed["attributes"]["exception.type"] == "FileNotFoundError"
    assert "boom" in failed["attributes"]["exception.stacktrace"]


def test_the_life_of_the_run_is_in_events(seen: dict[str, Any]) -> None:
    """A backend that keeps only logs sees each node start and end, with its span's ids."""
    events = [one for one in seen["logs"] if one["event"] is not None]
    nodes = [
        (one["event"], one["attributes"]["pipespan.node.id"], one["attributes"]["pipespan.node.status"])
        for one in events
        if one["event"] in {"pipespan.node.start", "pipespan.node.end"}
    ]
    assert nodes == [
        ("pipespan.node.start", "train", "running"),
        ("pipespan.node.start", "train/load", "running"),
        ("pipespan.node.end", "train/load", "completed"),
        ("pipespan.node.start", "train/fit", "running"),
        ("pipespan.node.start", "train/fit/epoch", "running"),
        ("pipespan.node.end", "train/fit/epoch", "failed"),
        ("pipespan.node.end", "train/fit", "failed"),
        ("pipespan.node.end", "train", "completed"),
    ]
    load = next(one for one in events if one["attributes"].get("pipespan.node.id") == "train/load")
    assert load["span"] == seen["spans"]["load"]["id"]
    assert {"pipespan.experiment.start", "pipespan.experiment.end", "pipespan.process.start"} <= {
        one["event"] for one in events
    }


def test_resources_are_in_the_gauges(seen: dict[str, Any]) -> None:
    """Memory of the process is measured while a pipeline runs."""
    assert seen["figures"]["process.memory.usage"] > 1_000_000
