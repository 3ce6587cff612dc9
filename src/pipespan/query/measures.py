"""What was measured, summed up: each measure of each node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipespan.model.records import MetricRecord

SAMPLED: Final = ("memory_mb", "cpu_percent", "disk_usage_mb", "throughput_per_sec")
"""The measures that have columns of their own; all others are in `custom_metrics`."""


@dataclass(frozen=True, slots=True)
class MeasureSummary:
    """One measure of one node.

    Attributes:
        count: how often it was measured.
        last: the newest value; for a measure of texts the only one that is told.
    """

    node_id: str | None
    measure: str
    count: int
    min: float | None
    mean: float | None
    max: float | None
    last: Any


def measures(record: MetricRecord) -> Iterator[tuple[str, Any]]:
    """Yield what a row says, by name."""
    for name in SAMPLED:
        value = getattr(record, name)
        if value is not None:
            yield name, value
    custom = record.custom_metrics
    for name, value in (custom if isinstance(custom, dict) else {}).items():
        if value is not None:
            yield str(name), value


def summarize(records: Iterable[MetricRecord], *, measure: str | None = None) -> list[MeasureSummary]:
    """Return each measure of each node, in the order in which they were first met.

    Args:
        records: in order of time.
        measure: only this one.
    """
    values: dict[tuple[str | None, str], list[Any]] = {}
    for record in records:
        for name, value in measures(record):
            if measure in (None, name):
                values.setdefault((record.node_id, name), []).append(value)
    return [_summary(node_id, name, found) for (node_id, name), found in values.items()]


def _summary(node_id: str | None, measure: str, values: Sequence[Any]) -> MeasureSummary:
    numbers = [float(one) for one in values if _is_finite(one)]
    return MeasureSummary(
        node_id=node_id,
        measure=measure,
        count=len(values),
        min=min(numbers, default=None),
        mean=math.fsum(numbers) / len(numbers) if numbers else None,
        max=max(numbers, default=None),
        last=values[-1],
    )


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
