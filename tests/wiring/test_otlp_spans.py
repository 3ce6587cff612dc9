"""What a backend of OpenTelemetry sees of a run: spans, records, events, measures."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pipespan.otlp.values import attributes_of
from tests.wiring.otlpsink import OtlpSink, running_sink
from tests.wiring.programs import Programs

PROTOCOLS = ("grpc", "http/protobuf")

RUN = """
    with pipespan.pipeline("train", params={"lr": 0.1}, tags=["night"]) as run:
        with run.phase("load") as load:
            for _ in load.track(range(3), unit="files"):
                pass
            load.progress(3, 3, "password=hunter2xy")
        try:
            with run.phase("fit") as fit:
                fit.link("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", why="continues")
                fit.link(load)
                with fit.step("epoch"):
                    raise OSError(2, "boom, token=abcdefghijklmnop0123456789ABCDEF")
        except OSError:
            pass
"""


def by_name(sink: OtlpSink) -> dict[str, Any]:
    return {span.name: span for span in sink.spans()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_are_nested_and_say_what_became_of_them(programs: Programs, protocol: str) -> None:
    """Parents, progress, status, the exception with its stack at the innermost, links; secrets in none of it."""
    with running_sink() as sink:
        programs.run(RUN, **sink.endpoint(protocol))
    spans = by_name(sink)
    assert {name: span.parent_span_id for name, span in spans.items()} == {
        "train": b"", "load": spans["train"].span_id, "fit": spans["train"].span_id,
        "epoch": spans["fit"].span_id,
    }  # fmt: skip
    assert len({span.trace_id for span in spans.values()}) == 1
    load = attributes_of(spans["load"].attributes)
    assert (load["pipespan.progress.completed"], load["pipespan.progress.total"]) == (3, 3)
    assert load["pipespan.progress.unit"] == "files"
    assert {name: span.status.code for name, span in spans.items()} == {
        "train": 0,
        "load": 0,
        "fit": 2,
        "epoch": 2,
    }
    (exception,) = spans["epoch"].events
    about = attributes_of(exception.attributes)
    assert (exception.name, about["exception.type"]) == ("exception", "FileNotFoundError")
    assert "boom" in about["exception.message"]
    assert about["exception.stacktrace"].startswith("Traceback")
    assert list(spans["fit"].events) == []
    links = [(link.span_id, attributes_of(link.attributes)) for link in spans["fit"].links]
    assert links == [(bytes.fromhex("b7ad6b7169203331"), {"why": "continues"}), (spans["load"].span_id, {})]
    root = attributes_of(spans["train"].attributes)
    assert (root["pipespan.experiment.params"], root["pipespan.experiment.tags"]) == ('{"lr":0.1}', ["night"])
    sent = b"".join(request.SerializeToString() for request in sink.requests)
    assert b"hunter2xy" not in sent
    assert b"abcdefghijklmnop0123456789ABCDEF" not in sent
    (node,) = [node for node in programs.delivered().nodes.values() if node.node_name == "fit"]
    assert [link["span_id"] for link in node.metadata["links"]] == [
        "b7ad6b7169203331",
        spans["load"].span_id.hex(),
    ]


def test_what_is_no_span_cannot_be_linked(programs: Programs) -> None:
    """The mistake is told at once."""
    ran = programs.run("""
        from pipespan.errors import UsageError
        with pipespan.pipeline("p") as run:
            for wrong in ("nonsense", 7, None, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
                try:
                    run.link(wrong)
                except UsageError as error:
                    print(error)
    """)
    assert ran.out.count("cannot link to") == 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_log_backend_sees_nodes_and_processes_live(programs: Programs, protocol: str) -> None:
    """Events of starts, progress and ends of nodes, heartbeats of the process; the failure with its traceback."""
    with running_sink() as sink:
        programs.run(
            """
            with pipespan.pipeline("run") as run, run.step("s", total=3) as step:
                for number in range(3):
                    step.advance(message=f"at {number}")
                    time.sleep(0.04)
                deadline = time.monotonic() + 0.6
                while time.monotonic() < deadline:
                    time.sleep(0.02)
            try:
                with pipespan.pipeline("fails"):
                    raise ValueError("bad")
            except ValueError:
                pass
            """,
            **sink.endpoint(protocol), PIPESPAN_PROGRESS_INTERVAL_S="0.02", PIPESPAN_HEARTBEAT_INTERVAL_S="0.15",
        )  # fmt: skip
    told = Counter(name for name, _ in sink.events())
    assert (told["pipespan.node.start"], told["pipespan.node.end"]) == (3, 3)
    assert told["pipespan.node.progress"] >= 1
    assert told["pipespan.process.heartbeat"] >= 2
    assert (told["pipespan.process.start"], told["pipespan.process.end"]) == (2, 2)
    assert (told["pipespan.experiment.start"], told["pipespan.experiment.end"]) == (2, 2)
    spans = by_name(sink)
    of_the_step = [one for one in sink.logs() if one.event_name and one.span_id == spans["s"].span_id]
    assert {one.event_name for one in of_the_step} >= {"pipespan.node.start", "pipespan.node.end"}
    assert all(one.trace_id == spans["s"].trace_id for one in of_the_step)
    (failure,) = [one for one in sink.logs() if "exception.type" in attributes_of(one.attributes)]
    about = attributes_of(failure.attributes)
    assert (about["exception.type"], failure.severity_number) == ("ValueError", 17)
    assert about["exception.stacktrace"].startswith("Traceback")


def test_nodes_in_the_words_of_cicd(programs: Programs) -> None:
    """`PIPESPAN_CICD_ATTRIBUTES=1`: names, ids of runs and results as the conventions have them, beside our own."""
    with running_sink() as sink:
        programs.run(RUN, **sink.endpoint("grpc"), PIPESPAN_CICD_ATTRIBUTES="1")
    spans = by_name(sink)
    about = {name: attributes_of(span.attributes) for name, span in spans.items()}
    found = {
        name: {key: value for key, value in one.items() if key.startswith("cicd.")}
        for name, one in about.items()
    }
    assert found == {
        "train": {
            "cicd.pipeline.name": "train", "cicd.pipeline.result": "success",
            "cicd.pipeline.run.id": str(UUID(bytes=spans["train"].trace_id)),
        },
        **{
            name: {
                "cicd.pipeline.task.name": name, "cicd.pipeline.task.run.id": spans[name].span_id.hex(),
                "cicd.pipeline.task.run.result": result,
            }
            for name, result in {"load": "success", "fit": "failure", "epoch": "failure"}.items()
        },
    }  # fmt: skip
    assert about["load"]["pipespan.progress.completed"] == 3
    assert len(spans["epoch"].events) == 1
    assert len(spans["fit"].links) == 2
    assert programs.delivered().statuses()["train/load"] == "completed"


def test_events_can_be_turned_off(programs: Programs) -> None:
    """`PIPESPAN_LIFECYCLE_EVENTS=0` leaves the program's own records."""
    with running_sink() as sink:
        programs.run(
            'with pipespan.pipeline("run"):\n        logging.getLogger("app").warning("hello")',
            **sink.endpoint("grpc"), PIPESPAN_LIFECYCLE_EVENTS="0",
        )  # fmt: skip
    assert [one.body.string_value for one in sink.logs()] == ["hello"]


WAITS = """
    from opentelemetry import metrics
    with pipespan.pipeline("run", total=4) as run:
        run.advance(3)
        for number in range({phases}):
            with run.phase(f"phase {{number}}", total=2) as phase:
                phase.advance()
                with phase.step("step", total=9):
                    deadline = time.monotonic() + {seconds}
                    while time.monotonic() < deadline:
                        time.sleep(0.02)
                    metrics.get_meter_provider().force_flush()
"""


def test_gauges_name_the_live_node(programs: Programs) -> None:
    """Resources of the process, each point with the span in which it was as its exemplar."""
    with running_sink() as sink:
        programs.run(
            WAITS.format(phases=1, seconds=1.5), **sink.endpoint("grpc"), OTEL_METRIC_EXPORT_INTERVAL="100",
            PIPESPAN_SAMPLE_INTERVAL_S="0.05",
        )  # fmt: skip
    metrics = sink.metrics()
    assert {"process.cpu.time", "process.memory.usage", "process.thread.count"} <= set(metrics)
    live = {exemplar.span_id for point in metrics["process.memory.usage"] for exemplar in point.exemplars}
    assert by_name(sink)["step"].span_id in live
    assert all(
        "pipespan" not in key.key for point in metrics["process.memory.usage"] for key in point.attributes
    )
    assert not [name for name in metrics if name.startswith("pipespan.")]


def test_progress_as_metrics_is_asked_for(programs: Programs) -> None:
    """`PIPESPAN_PROGRESS_METRICS=1`: done and total of pipelines and phases, by name; how much runs, by level."""
    with running_sink() as sink:
        programs.run(
            WAITS.format(phases=2, seconds=0.3), **sink.endpoint("grpc"), OTEL_METRIC_EXPORT_INTERVAL="50",
            PIPESPAN_PROGRESS_METRICS="1",
        )  # fmt: skip
    found = {
        (name, about["pipespan.node.level"], about.get("pipespan.node.name")): point.as_int
        for name, points in sink.metrics().items() if name.startswith("pipespan.")
        for point in points for about in [attributes_of(point.attributes)]
    }  # fmt: skip
    assert found == {
        ("pipespan.progress.completed", "pipeline", "run"): 3, ("pipespan.progress.total", "pipeline", "run"): 4,
        ("pipespan.progress.completed", "phase", "phase 0"): 1, ("pipespan.progress.total", "phase", "phase 0"): 2,
        ("pipespan.progress.completed", "phase", "phase 1"): 1, ("pipespan.progress.total", "phase", "phase 1"): 2,
        ("pipespan.node.running", "pipeline", None): 1, ("pipespan.node.running", "phase", None): 1,
        ("pipespan.node.running", "step", None): 1,
    }  # fmt: skip


@pytest.mark.parametrize("ratio", ["0.0", "0.4"])
def test_ratio_samplers_hold_for_otlp_and_not_for_the_tables(
    connected: Programs, dsn: str, ratio: str
) -> None:
    """Of 120 runs the sampler lets some through, whole; every node of all of them is in the tables."""
    runs = 120
    with running_sink() as sink:
        connected.run(
            f"""
            for number in range({runs}):
                with pipespan.pipeline("run") as run, run.phase("a"), pipespan.step("b"):
                    pass
            """,
            **sink.endpoint("grpc"), OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG=ratio, OTEL_METRICS_EXPORTER="none", OTEL_BLRP_MAX_QUEUE_SIZE="10000",
            PIPESPAN_EXIT_TIMEOUT_S="30",
        )  # fmt: skip
    per_trace = Counter(span.trace_id for span in sink.spans())
    assert set(per_trace.values()) <= {3}
    assert len(per_trace) == 0 if ratio == "0.0" else 24 <= len(per_trace) <= 72
    # Ends, since of a node that starts and ends in such a burst no more is told.
    ended = Counter(about["pipespan.node.id"] for name, about in sink.events() if name == "pipespan.node.end")
    assert ended == {"run": runs, "run/a": runs, "run/a/b": runs}
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select node_id, count(*) from pipeline_progress group by 1").fetchall()
    assert dict(found) == {"run": runs, "run/a": runs, "run/a/b": runs}
