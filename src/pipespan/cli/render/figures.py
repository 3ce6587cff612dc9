"""History, trends, measures and resources as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from rich.text import Text

from pipespan.cli.render.grid import Column, render_grid
from pipespan.cli.render.text import clock, coarse, duration, moment, number, rate, scaled
from pipespan.model.history import PhaseRun, TimelinePoint, Trend
from pipespan.query.measures import MeasureSummary

_MB: Final = 1e6
_TREND_LAST: Final = 5
_DAY_S: Final = 86_400.0


def render_history(runs: Sequence[PhaseRun], now: datetime, width: int, ascii_only: bool) -> Text:  # noqa: FBT001 - as all
    """Return one line for each run of each phase, newest first."""
    columns = (
        Column("phase", right=False),
        Column("started"),
        Column("status", right=False),
        Column("took"),
        Column("memory"),
        Column("cpu", rank=2),
        Column("rate", rank=3),
        Column("errors", rank=1),
        Column("run", right=False),
    )
    rows = [
        (
            run.node_id,
            "" if run.start_time is None else f"{coarse((now - run.start_time).total_seconds())} ago",
            run.status,
            _duration(run.duration_s),
            _bytes(run.peak_memory_mb),
            _duration(run.cpu_s),
            rate(run.throughput_per_s) if run.throughput_per_s and run.throughput_per_s > 0 else "",
            number(run.error_count) if run.error_count else "",
            run.experiment_id[:8],
        )
        for run in runs
    ]
    return render_grid(columns, rows, width, ascii_only)


def render_trends(trends: Sequence[Trend], width: int, ascii_only: bool) -> Text:  # noqa: FBT001 - as all
    """Return one line for each measure of each phase, with the newest values last."""
    columns = (
        Column("phase", right=False),
        Column("measure", right=False),
        Column("runs"),
        Column("min", rank=2),
        Column("mean", rank=4),
        Column("median"),
        Column("p90", rank=3),
        Column("max", rank=1),
        Column("last", right=False, rank=5),
    )
    rows = [
        (
            trend.node_id,
            trend.measure,
            number(trend.runs),
            *(
                _measured(trend.measure, one)
                for one in (trend.min, trend.mean, trend.median, trend.p90, trend.max)
            ),
            " ".join(_measured(trend.measure, one) for one in trend.last[-_TREND_LAST:]),
        )
        for trend in trends
    ]
    return render_grid(columns, rows, width, ascii_only)


def render_measures(found: Sequence[MeasureSummary], width: int, ascii_only: bool) -> Text:  # noqa: FBT001 - as all
    """Return one line for each measure of each node."""
    columns = (
        Column("node", right=False),
        Column("measure", right=False),
        Column("count", rank=1),
        Column("min", rank=3),
        Column("mean", rank=2),
        Column("max", rank=4),
        Column("last"),
    )
    rows = [
        (
            one.node_id or "",
            one.measure,
            number(one.count),
            *map(_plain, (one.min, one.mean, one.max, one.last)),
        )
        for one in found
    ]
    return render_grid(columns, rows, width, ascii_only)


def render_timeline(
    points: Sequence[TimelinePoint],
    width: int,
    ascii_only: bool,  # noqa: FBT001 - as all
    *,
    zone: tzinfo | None = None,
) -> Text:
    """Return one line for each stretch of time and process."""
    is_long = bool(points) and (points[-1].bucket_start - points[0].bucket_start).total_seconds() > _DAY_S
    tell = moment if is_long else clock
    columns = (
        Column("from", right=False),
        Column("memory"),
        Column("cpu"),
        Column("disk used", rank=2),
        Column("rate", rank=1),
        Column("samples", rank=3),
        Column("job", right=False, rank=4),
    )
    rows = [
        (
            tell(point.bucket_start, zone),
            _bytes(point.memory_mb),
            "" if point.cpu_percent is None else f"{point.cpu_percent:.0f}%",
            _bytes(point.disk_usage_mb),
            rate(point.throughput_per_sec)
            if point.throughput_per_sec and point.throughput_per_sec > 0
            else "",
            number(point.samples),
            "" if point.job_id is None else point.job_id[:8],
        )
        for point in points
    ]
    return render_grid(columns, rows, width, ascii_only)


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _bytes(megabytes: float | None) -> str:
    return "" if megabytes is None else f"{scaled(megabytes * _MB)}B"


def _measured(measure: str, value: float | None) -> str:
    if value is None:
        return ""
    if measure.endswith("_s"):
        return duration(value)
    return _bytes(value) if measure.endswith("_mb") else _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)[:40]
