"""The instruments show the last sample under the conventions' names, tied to the live node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from pipespan.model.resources import ResourceSample
from pipespan.otel.gauges import register_gauges
from pipespan.otel.spans import PlainSpans
from tests.otel.doubles import inside

SAMPLE = ResourceSample(
    timestamp=1,
    memory_rss_bytes=1000,
    memory_vms_bytes=2000,
    cpu_time_user_s=1.5,
    cpu_time_system_s=0.5,
    cpu_utilization=0.25,
    cpu_percent=50.0,
    thread_count=4,
    open_fds=9,
    read_bytes=10,
    write_bytes=20,
)


def collect(sample: ResourceSample | None, context: Context | None = None) -> dict[str, dict[str, Any]]:
    """Return the points of one collection by metric name and attribute value."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False, exemplar_filter=AlwaysOnExemplarFilter())
    register_gauges(provider.get_meter("pipespan"), lambda: sample, lambda: context)
    data = reader.get_metrics_data()
    found: dict[str, dict[str, Any]] = {}
    for resource_metrics in data.resource_metrics if data is not None else []:
        for metric in resource_metrics.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                found.setdefault(metric.name, {})["".join(map(str, (point.attributes or {}).values()))] = (
                    point
                )
    return found


def test_sample_is_observed_under_the_names_of_the_conventions() -> None:
    """Each figure of the sample is a series with its standard name and attributes."""
    values = {
        name: {key: point.value for key, point in points.items()} for name, points in collect(SAMPLE).items()
    }
    assert values == {
        "process.cpu.time": {"user": 1.5, "system": 0.5},
        "process.cpu.utilization": {"": 0.25},
        "process.memory.usage": {"": 1000},
        "process.memory.virtual": {"": 2000},
        "process.thread.count": {"": 4},
        "process.unix.file_descriptor.count": {"": 9},
        "process.disk.io": {"read": 10, "write": 20},
    }


def test_unknown_figures_are_absent() -> None:
    """What the platform does not tell is no series rather than a zero."""
    found = collect(replace(SAMPLE, open_fds=None, read_bytes=None, write_bytes=None))
    assert "process.unix.file_descriptor.count" not in found
    assert "process.disk.io" not in found


def test_no_sample_no_series() -> None:
    """Before the first sample nothing is observed."""
    assert collect(None) == {}


def test_exemplar_names_the_live_node() -> None:
    """An observation carries the span of the node that runs."""
    handle = PlainSpans().start("n", parent=Context(), start_time_unix_ns=0, attributes={}, trace_id=0xAB)
    point = collect(SAMPLE, inside(handle))["process.memory.usage"][""]
    assert [(one.trace_id, one.span_id) for one in point.exemplars] == [(0xAB, handle.span_id)]
