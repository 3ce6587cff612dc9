"""Every `OTEL_*` variable that the SDK knows has its effect on what pipespan makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.wiring.otlpsink import running_sink
from tests.wiring.programs import Programs

PIPELINE = """
    from opentelemetry import metrics
    with pipespan.pipeline("run", params={"a": 1}) as run, run.step("s", total=2) as step:
        metrics.get_meter("mine").create_counter("made").add(3, {"kind": "x"})
        step.set(big="y" * 100)
        logging.getLogger("app").warning("z" * 100)
        for _ in step.track(range(2)):
            pass
    pipespan.flush(10)
"""

ASKED = """
    class Noting(type(os.environ)):
        asked = set()
        def __getitem__(self, key):
            Noting.asked.add(key)
            return super().__getitem__(key)
    os.environ.__class__ = Noting
    import json
    from collections.abc import Mapping
    import opentelemetry.sdk.environment_variables as known
    class Environ(dict):
        def get(self, key, default=None):
            Noting.asked.add(key)
            return super().get(key, default)
    from pipespan.otel import providers, sdkconfig
    environ = Environ(os.environ)
    environ["OTEL_TRACES_SAMPLER"] = os.environ["OTEL_TRACES_SAMPLER"] = "traceidratio"
    for protocol in ("grpc", "http/protobuf"):
        environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
        for signal in providers.SIGNALS:
            sdkconfig.build_provider(signal, providers.exporters_asked(signal, environ), environ, "p").shutdown()
    providers.join_providers(environ, "p")
    names = {value for name, value in vars(known).items() if name.startswith("OTEL_")}
    print(json.dumps(sorted(names - Noting.asked)))
"""

OTHERS = {
    # Exporters of packages of their own, which read these themselves.
    "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT", "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
    # The SDK names it and reads it nowhere.
    "OTEL_LOG_LEVEL",
    # Deprecated; it sets up a second bridge beside ours.
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
}  # fmt: skip


def test_each_variable_that_the_sdk_names_is_read(programs: Programs) -> None:
    """By us or by the parts of the SDK that we put together; a release that knows a new one fails here."""
    ran = programs.run(
        ASKED, OTEL_EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_METRICS_EXPORTER="otlp",
    )  # fmt: skip
    assert set(json.loads(ran.out)) - OTHERS == set()


def test_variables_of_the_exporters(programs: Programs) -> None:
    """Headers, compression, names, attributes, limits and the interval of metrics arrive as they were set."""
    with running_sink() as sink:
        programs.run(
            PIPELINE, **sink.endpoint("http/protobuf"), OTEL_EXPORTER_OTLP_HEADERS="x-team=blue",
            OTEL_EXPORTER_OTLP_LOGS_HEADERS="x-team=green", OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_SERVICE_NAME="etl", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="process", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2",
            OTEL_METRIC_EXPORT_INTERVAL="100", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="50",
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
        )  # fmt: skip
    teams = [("logs" if request.DESCRIPTOR.name.startswith("ExportLogs") else "rest", headers["x-team"])
             for request, headers in zip(sink.requests, sink.headers, strict=True)]  # fmt: skip
    assert set(teams) == {("logs", "green"), ("rest", "blue")}
    assert {headers.get("content-encoding") for headers in sink.headers} == {"gzip"}
    for resource in sink.resources():
        assert (resource["service.name"], resource["deployment.environment.name"]) == ("etl", "test")
        assert resource["process.pid"] > 0
    assert {len(span.attributes) <= 2 for span in sink.spans()} == {True}
    (made, *_) = sink.metrics()["made"]
    assert made.as_int == 3
    bodies = [one.attributes for one in sink.logs() if one.body.string_value.startswith("zzz")]
    assert len(bodies) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_each_signal_has_its_own_endpoint_and_protocol(programs: Programs, protocol: str) -> None:
    """What is set for one signal goes before what is set for all."""
    other = "http/protobuf" if protocol == "grpc" else "grpc"
    with running_sink() as sink, running_sink() as logs:
        place = logs.grpc if other == "grpc" else f"{logs.http}/v1/logs"
        programs.run(
            PIPELINE, **sink.endpoint(protocol), OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=place,
            OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=other, OTEL_METRICS_EXPORTER="none",
        )  # fmt: skip
    assert {span.name for span in sink.spans()} == {"run", "s"}
    assert sink.logs() == []
    assert logs.spans() == []
    assert "pipespan.node.end" in {name for name, _ in logs.events()}
    assert (sink.metrics(), logs.metrics()) == ({}, {})


def test_sdk_disabled_leaves_the_tables_alone(programs: Programs) -> None:
    """`OTEL_SDK_DISABLED` ends all export; the rows are as ever."""
    with running_sink() as sink:
        programs.run(PIPELINE, **sink.endpoint("grpc"), OTEL_SDK_DISABLED="true")
    assert sink.asked == 0
    assert programs.delivered().statuses() == {"run": "completed", "run/s": "completed"}


CONFIGURATION = """
file_format: "1.0-rc.1"
resource:
  attributes:
    - {{name: service.name, value: from-file}}
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http: {{endpoint: "{http}/v1/traces"}}
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_http: {{endpoint: "{http}/v1/logs"}}
"""


def test_a_configuration_file(programs: Programs, tmp_path: Path) -> None:
    """`OTEL_CONFIG_FILE` sets up all there is; it is joined, and delivered at the exit."""
    pytest.importorskip("opentelemetry.configuration")
    with running_sink() as sink:
        path = tmp_path / "otel.yaml"
        path.write_text(CONFIGURATION.format(http=sink.http))
        programs.run(PIPELINE, OTEL_CONFIG_FILE=str(path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert {span.name for span in sink.spans()} == {"run", "s"}
    assert {"pipespan.node.start", "pipespan.node.end"} <= {name for name, _ in sink.events()}
    assert {resource["service.name"] for resource in sink.resources()} == {"from-file"}
    assert programs.delivered().statuses() == {"run": "completed", "run/s": "completed"}
