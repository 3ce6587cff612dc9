from __future__ import annotations

import math
from datetime import timedelta

import pytest
from rich.cells import cell_len

from pipespan.cli.render.figures import render_history, render_measures, render_timeline, render_trends
from pipespan.model.history import PhaseRun, TimelinePoint, Trend
from pipespan.model.records import MetricRecord
from pipespan.query.measures import summarize
from tests.query.samples import EXPERIMENT_ID, NOW, ago

ODD = "train/\x1b[31m\u202e日本語" + "x" * 300 + "/end"


def run(**changes: object) -> PhaseRun:
    values = {
        "experiment_id": EXPERIMENT_ID, "experiment_name": "train", "node_id": "train/fit", "node_name": "fit",
        "node_level": "phase", "attempt": 1, "status": "completed", "start_time": ago(9999), "end_time": ago(5),
        "duration_s": 123456.7, "peak_memory_mb": 123456.7, "cpu_s": 99999.9, "completed_units": 5,
        "throughput_per_s": 1e-9, "error_count": 1234567,
    }  # fmt: skip
    return PhaseRun(**{**values, **changes})  # type: ignore[arg-type]


def measured(node_id: str | None = "p", **custom: object) -> MetricRecord:
    return MetricRecord(1, EXPERIMENT_ID, None, node_id, NOW, None, None, None, None, custom)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_line_is_longer_than_the_terminal(width: int, ascii_only: bool) -> None:
    """Whatever the names and figures are: columns are left out, names are cut, and nothing is obeyed."""
    trend = Trend(ODD, "duration_s", 3, 1e9, 1e9, 1e9, 1e9, 1e9, (1e9,) * 20)
    point = TimelinePoint(NOW, EXPERIMENT_ID, 10**9, 1e12, 1e6, 1e12, 1e12)
    later = TimelinePoint(NOW + timedelta(days=2), None, 1, None, None, None, None)
    shown = [
        render_history([run(), run(node_id=ODD, start_time=None, duration_s=None)], NOW, width, ascii_only),
        render_trends([trend], width, ascii_only),
        render_measures(summarize([measured(ODD, **{ODD: ODD, "n": 10**400})]), width, ascii_only),
        render_timeline([point, later], width, ascii_only),
    ]
    for text in shown:
        for line in text.plain.splitlines():
            assert cell_len(line) <= width
            assert "\x1b" not in line
            assert "\u202e" not in line
            assert not ascii_only or line.isascii()


def test_wide_terminals_show_all() -> None:
    """At 120 columns nothing is left out."""
    (titles, line) = render_history([run(throughput_per_s=5.0)], NOW, 120, False).plain.splitlines()  # noqa: FBT003 - as all
    assert titles.split() == ["phase", "started", "status", "took", "memory", "cpu", "rate", "errors", "run"]
    assert "5/s" in line
    assert "1,234,567" in line


def test_measures_are_summed_up_by_node_and_name() -> None:
    """Figures have least, mean, most and last; what is none is told as it is; one measure may be asked for."""
    rows = [measured(loss=1.0, ok=True), measured(loss=3, word="a"), measured(None, loss=math.inf, word=None)]
    found = summarize(rows)
    assert [(one.node_id, one.measure, one.count, one.min, one.mean, one.max, one.last) for one in found] == [
        ("p", "loss", 2, 1.0, 2.0, 3.0, 3),
        ("p", "ok", 1, None, None, None, True),
        ("p", "word", 1, None, None, None, "a"),
        (None, "loss", 1, None, None, None, math.inf),
    ]  # fmt: skip
    assert [one.measure for one in summarize(rows, measure="word")] == ["word"]
    assert summarize([]) == []
