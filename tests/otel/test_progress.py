"""Progress as metrics stays bounded whatever names a program makes up."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from pipespan.model.status import NodeLevel
from pipespan.otel.progress import MAX_SERIES, register_progress


@dataclass(frozen=True)
class Running:
    """A node that runs."""

    level: NodeLevel
    name: str
    completed: int = 1
    total: int | None = None
    pipeline_name: str = "run"


def points(reader: InMemoryMetricReader, metric: str) -> dict[str, int]:
    """Return the values of a metric by the name of the node."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        str(point.attributes.get("pipespan.node.name", sorted(point.attributes))): point.value  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for one in scope.metrics
        if one.name == metric
        for point in one.data.data_points
    }


def test_series_are_bounded() -> None:
    """The first ones keep their names, in later collections too; all others share one, which says so."""
    reader, running = (
        InMemoryMetricReader(),
        [Running("phase", f"p{number}") for number in range(MAX_SERIES + 7)],
    )
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    register_progress(provider.get_meter("pipespan"), lambda: running)
    found = points(reader, "pipespan.progress.completed")
    assert len(found) == MAX_SERIES + 1
    assert found["['otel.metric.overflow']"] == 7
    running[:] = [Running("phase", "p3", 5), Running("phase", "new", 2), Running("step", "never named", 9)]
    assert points(reader, "pipespan.progress.completed") == {"p3": 5, "['otel.metric.overflow']": 2}
    provider.shutdown()


def test_without_a_total_there_is_none() -> None:
    """Only what is known is told."""
    reader, running = InMemoryMetricReader(), [Running("phase", "a"), Running("phase", "b", 2, 4)]
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    register_progress(provider.get_meter("pipespan"), lambda: running)
    assert points(reader, "pipespan.progress.total") == {"b": 4}
    provider.shutdown()
