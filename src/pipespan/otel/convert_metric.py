"""One collection of an SDK metric reader as one row: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pipespan.model import semconv
from pipespan.model.clean import clean_value
from pipespan.model.rows import MetricRow

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

    from pipespan.otel.ports import NodeIdentity

MAX_SERIES: Final = 1_000
"""Most series kept in one row; a label with endless values fills no table."""

CUT_KEY: Final = "pipespan.cut"
"""Says in a row how many series it left out."""


def metric_row(data: MetricsData, node: NodeIdentity) -> MetricRow | None:
    """Return the row of `data`, or None when nothing is in it that the process's own samples do not say.

    A series with attributes is keyed `name{key=value,...}`; a histogram is its count, sum, min and max.
    """
    values: dict[str, Any] = {}
    timestamp = 0
    cut = 0
    for key, time_unix_ns, value in _series(data):
        timestamp = max(timestamp, time_unix_ns)
        if len(values) < MAX_SERIES or key in values:
            values[key] = value
        else:
            cut += 1
    if not values:
        return None
    if cut:
        values[CUT_KEY] = cut
    return MetricRow(
        experiment_id=node.experiment_id,
        job_id=node.job_id,
        node_id=node.node_id,
        timestamp=timestamp,
        memory_mb=None,
        cpu_percent=None,
        disk_usage_mb=None,
        throughput_per_sec=None,
        custom_metrics=values,
    )


def _series(data: MetricsData) -> Iterator[tuple[str, int, Any]]:
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            # Our own gauges show the samples that the sampler writes as rows itself.
            if scope_metrics.scope.name != semconv.SCOPE:
                for metric in scope_metrics.metrics:
                    yield from _points(metric)


def _points(metric: Metric) -> Iterator[tuple[str, int, Any]]:
    points: Any = metric.data.data_points
    for point in points:
        key = metric.name + _labels(point.attributes or {})
        yield key, point.time_unix_nano, _value(point)


def _labels(attributes: Mapping[str, Any]) -> str:
    if not attributes:
        return ""
    return "{" + ",".join(f"{key}={clean_value(value)}" for key, value in sorted(attributes.items())) + "}"


def _value(point: Any) -> Any:
    if hasattr(point, "count"):
        return {name: clean_value(getattr(point, name)) for name in ("count", "sum", "min", "max")}
    return clean_value(point.value)
