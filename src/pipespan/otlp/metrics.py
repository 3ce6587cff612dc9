"""Metrics of OTLP as rows: one row for each sender and moment, with all series that it measured then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipespan.model import semconv
from pipespan.model.attributes import plain_text
from pipespan.model.clean import clean_value
from pipespan.model.rows import MetricRow, Row
from pipespan.otlp.decoded import Decoded, checked_time
from pipespan.otlp.origin import Origin, Place, by_resource
from pipespan.otlp.values import attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import (
        ExponentialHistogramDataPoint,
        HistogramDataPoint,
        Metric,
        NumberDataPoint,
        SummaryDataPoint,
    )

    from pipespan.otlp.envelope import Group

MAX_SERIES: Final = 1_000
"""Most series in one row; what a sender measured at the same moment beyond that stands in further rows."""

_MB: Final = 1_000_000
_NO_VALUE_FLAG: Final = 1
_TEMPORALITIES: Final = {1: "delta", 2: "cumulative"}


def decode_metrics(groups: Iterable[Group], read: Callable[[Any], Metric], now_unix_ns: int) -> Decoded:
    """Return the rows of a message.

    Args:
        groups: its metrics.
        read: makes a message of one.
        now_unix_ns: stands for times that are missing.
    """
    decoded = Decoded()
    for origin, own in by_resource(groups, now_unix_ns):
        found = Decoded()
        moments: dict[tuple[Place, int], list[dict[str, Any]]] = {}
        for group in own:
            # Gauges of pipespan show samples that its processes send as events, which are exact.
            if group.scope.name != semconv.SCOPE:
                found.each(group, partial(_gather, read, origin, moments, found, now_unix_ns))
        found.rows += [
            _row(place, time_unix_ns, series)
            for (place, time_unix_ns), those in moments.items()
            for series in those
        ]
        decoded.add(origin.rows(), found)
    return decoded


def _gather(
    read: Callable[[Any], Metric], origin: Origin, moments: dict[tuple[Place, int], list[dict[str, Any]]],
    found: Decoded, now_unix_ns: int, record: Any,
) -> list[Row]:  # fmt: skip
    metric = read(record)
    name = plain_text(metric.name)
    for point, make in _points(metric):
        if point.flags & _NO_VALUE_FLAG:
            continue
        try:
            value = make(point)
            attributes = attributes_of(point.attributes)
            time_unix_ns = checked_time(point.time_unix_nano) or now_unix_ns
            place = origin.place(attributes, _trace_of(point), None, time_unix_ns)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            found.reject(f"{name[:80]!r}: {error}")
            continue
        rows = moments.setdefault((place, time_unix_ns), [{}])
        key = name + _labels(attributes)
        # The same series twice at one moment: both are kept.
        if len(rows[-1]) >= MAX_SERIES or key in rows[-1]:
            rows.append({})
        rows[-1][key] = value
    return []


def _row(place: Place, time_unix_ns: int, series: Mapping[str, Any]) -> MetricRow:
    memory = series.get(semconv.METRIC_MEMORY_USAGE)
    return MetricRow(
        experiment_id=place.experiment_id,
        job_id=place.job_id,
        node_id=place.node_id,
        timestamp=time_unix_ns,
        memory_mb=memory / _MB if isinstance(memory, int | float) else None,
        cpu_percent=None,
        disk_usage_mb=None,
        throughput_per_sec=None,
        custom_metrics=series,
    )


def _trace_of(point: Any) -> str | None:
    """Return the trace of a point's first exemplar: it names the span that was live when it was measured."""
    for exemplar in getattr(point, "exemplars", ()):
        if len(exemplar.trace_id) == 16 and any(exemplar.trace_id):
            return str(exemplar.trace_id.hex())
    return None


def _labels(attributes: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in attributes.items() if not key.startswith("pipespan.")}
    if not shown:
        return ""
    return plain_text(
        "{" + ",".join(f"{key}={clean_value(value)}" for key, value in sorted(shown.items())) + "}"
    )


def _points(metric: Metric) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
    """Return each point with what makes its value."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    about: dict[str, Any] = {}
    if metric.unit:
        about["unit"] = plain_text(metric.unit)
    temporality = _TEMPORALITIES.get(getattr(data, "aggregation_temporality", 0))
    if temporality is not None:
        about["temporality"] = temporality
    if kind == "sum":
        about["monotonic"] = data.is_monotonic
    read = _READERS.get(kind)
    if read is None:
        raise ValueError(f"metrics of kind {kind!r} are not known")
    # A plain gauge or total stays a plain number, which is what people ask for; all else says what it is.
    is_plain = read is _number and (kind == "gauge" or temporality == "cumulative")
    make = read if is_plain else (lambda point: _described(read(point), about))
    for point in data.data_points:
        yield point, make


def _described(value: Any, about: Mapping[str, Any]) -> dict[str, Any]:
    return {**(value if isinstance(value, dict) else {"value": value}), **about}


def _number(point: NumberDataPoint) -> Any:
    kind = point.WhichOneof("value")
    return None if kind is None else clean_value(getattr(point, kind))


def _histogram(point: HistogramDataPoint) -> dict[str, Any]:
    return {
        **_totals(point),
        "bounds": clean_value(list(point.explicit_bounds)),
        "counts": list(point.bucket_counts),
    }


def _exponential(point: ExponentialHistogramDataPoint) -> dict[str, Any]:
    return {
        **_totals(point),
        "scale": point.scale,
        "zero_count": point.zero_count,
        "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
        "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
    }


def _totals(point: Any) -> dict[str, Any]:
    totals: dict[str, Any] = {"count": point.count}
    for name in ("sum", "min", "max"):
        if point.HasField(name):
            totals[name] = clean_value(getattr(point, name))
    return totals


def _summary(point: SummaryDataPoint) -> dict[str, Any]:
    quantiles = {str(one.quantile): clean_value(one.value) for one in point.quantile_values}
    return {"count": point.count, "sum": clean_value(point.sum), "quantiles": quantiles}


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
