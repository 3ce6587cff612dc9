"""The figures beside a node's name, and how they share the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from rich.cells import cell_len

from pipespan.cli.render.look import Look
from pipespan.cli.render.text import coarse, duration, expected, number, rate, scaled
from pipespan.query.status import NodeView

_PPB_PER_PERCENT: Final = 10_000_000
_BYTE_UNITS: Final = frozenset({"b", "byte", "bytes"})
_LONGEST_UNIT: Final = 10
_LONG_COUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What stands beside one node, as text; empty where it has none."""

    ppb: int | None
    percent: str
    units: str
    counts: str
    rate: str
    duration: str
    coarse_duration: str
    eta: str
    coarse_eta: str
    errors: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths in cells; 0 leaves a column out.

    Attributes:
        label: branches, symbol and name.
        units: counts with or without the unit's name, as `has_unit` says.
        is_coarse: durations and ETA are in one unit only.
    """

    label: int
    bar: int
    percent: int
    units: int
    rate: int
    duration: int
    eta: int
    errors: int
    has_unit: bool
    is_coarse: bool


_GAP: Final = 2
_MIN_LABEL: Final = 26
"""A name of fewer cells is hard to tell from its siblings: figures give way before it gets shorter."""


@dataclass(frozen=True, slots=True)
class _Detail:
    bar: int
    has_unit: bool = False
    has_rate: bool = False
    has_units: bool = True
    has_duration: bool = True
    is_coarse: bool = True


_DETAILS: Final = (
    _Detail(bar=20, has_unit=True, has_rate=True, is_coarse=False),
    _Detail(bar=10, has_unit=True, has_rate=True, is_coarse=False),
    _Detail(bar=10, has_rate=True, is_coarse=False),
    _Detail(bar=8, has_unit=True, has_rate=True),
    _Detail(bar=8, has_rate=True),
    _Detail(bar=8, has_unit=True),
    _Detail(bar=8),
    _Detail(bar=5),
    _Detail(bar=5, has_units=False),
    _Detail(bar=0, has_units=False),
    _Detail(bar=0, has_units=False, has_duration=False),
)


def figures_of(node: NodeView, look: Look) -> Figures:
    """Return the figures of one node."""
    record = node.record
    ppb = round(record.progress_percent * _PPB_PER_PERCENT) if node.is_measurable else None
    if record.status == "pending" and not ppb:
        ppb = None
    counts = _counts(node)
    unit = look.short(look.safe(record.unit or ""), _LONGEST_UNIT)
    is_bytes = unit.lower() in _BYTE_UNITS
    return Figures(
        ppb=ppb,
        percent="" if ppb is None else f"{ppb // _PPB_PER_PERCENT}%",
        units=f"{counts} {unit}".rstrip() if counts and not is_bytes else counts,
        counts=counts,
        rate="" if node.rate_per_s is None else rate(node.rate_per_s, unit="B" if is_bytes else ""),
        duration="" if node.duration_s is None else duration(node.duration_s),
        coarse_duration="" if node.duration_s is None else coarse(node.duration_s),
        eta="" if node.eta_s is None else f"ETA {expected(node.eta_s)}",
        coarse_eta="" if node.eta_s is None else f"ETA {coarse(node.eta_s)}",
        errors="" if not node.errors_within else f"{look.symbols['failed']} {number(node.errors_within)}",
    )


def _counts(node: NodeView) -> str:
    done, total = node.record.completed_units, node.record.total_units
    if total is None:
        return _count(node, done) if done else ""
    return f"{_count(node, done)}/{_count(node, total)}"


def _count(node: NodeView, value: int) -> str:
    if (node.record.unit or "").lower() in _BYTE_UNITS:
        return scaled(value) + "B"
    return number(value) if value < _LONG_COUNT else scaled(value)


def fit(figures: Sequence[Figures], labels: Iterable[int], width: int) -> Columns:
    """Return columns for these rows that fit `width`: the less telling figures give way to readable names.

    Args:
        figures: of each row.
        labels: natural width of each row's label.
        width: of the terminal.
    """
    natural = max(labels, default=0)
    columns = _columns(figures, _DETAILS[-1], width)
    for detail in _DETAILS:
        columns = _columns(figures, detail, width)
        if columns.label >= min(natural, _MIN_LABEL):
            break
    return replace(columns, label=max(1, min(natural, columns.label)))


def _columns(figures: Sequence[Figures], detail: _Detail, width: int) -> Columns:
    """Return the columns of one degree of detail; the label gets what is left."""
    durations = attrgetter("coarse_duration" if detail.is_coarse else "duration")
    etas = attrgetter("coarse_eta" if detail.is_coarse else "eta")
    has_bar = detail.bar and any(one.ppb is not None for one in figures)
    widths = {
        "bar": detail.bar if has_bar else 0,
        "percent": _widest(one.percent for one in figures),
        "units": _widest(one.units if detail.has_unit else one.counts for one in figures)
        if detail.has_units
        else 0,
        "rate": _widest(one.rate for one in figures) if detail.has_rate else 0,
        "duration": _widest(map(durations, figures)) if detail.has_duration else 0,
        "eta": _widest(map(etas, figures)),
        "errors": _widest(one.errors for one in figures),
    }
    used = sum(_GAP + one for one in widths.values() if one)
    return Columns(label=max(0, width - used), has_unit=detail.has_unit, is_coarse=detail.is_coarse, **widths)


def _widest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)
