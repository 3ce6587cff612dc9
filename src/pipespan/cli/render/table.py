"""Experiments as rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from pipespan.cli.render.look import ERROR, FAINT, HEALTH_STYLES, STATUS_STYLES, look_for
from pipespan.cli.render.text import coarse, duration, moment, number, pad
from pipespan.model.health import HEARTBEAT_INTERVAL_S, Health
from pipespan.model.records import ExperimentRecord
from pipespan.query.status import NodeState

_GAP: Final = "  "
_MIN_NAME: Final = 24
"""Where names would get shorter, the start is told as an age."""


_MAX_CAUSE: Final = 24
"""Of a cause, which may be an exception's qualified name, so much is shown: its end."""


def render_experiments(
    listed: Sequence[tuple[ExperimentRecord, Health]],
    now: datetime,
    width: int,
    ascii_only: bool,  # noqa: FBT001 - how every renderer is called
    *,
    zone: tzinfo | None = None,
) -> Text:
    """Return one line for each experiment: id, name, state, start, duration, errors; none longer than `width`."""
    if not listed:
        return Text("no experiments")
    look = look_for(ascii_only=ascii_only)
    rows = [_cells(experiment, health, now, zone) for experiment, health in listed]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    names = [look.safe(experiment.name) for experiment, _ in listed]
    room = width - 2 - sum(one + len(_GAP) for one in widths if one)
    if room < min(_MIN_NAME, max(map(cell_len, names))):
        rows = [_cells(experiment, health, now, zone, is_short=True) for experiment, health in listed]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        room = width - 2 - sum(one + len(_GAP) for one in widths if one)
    room = max(4, min(room, max(map(cell_len, names))))
    lines = []
    for (experiment, health), cells, name in zip(listed, rows, names, strict=True):
        text = Text()
        symbol: NodeState = "failed" if health.word == "dead" else experiment.status
        text.append(look.symbols[symbol], style=STATUS_STYLES[symbol])
        text.append(f" {cells[0]}{_GAP}", style=FAINT)
        text.append(pad(look.short(name, room), room), style="bold")
        styles = (_state_style(experiment, health), FAINT, FAINT, ERROR)
        for content, cell_width, style in zip(cells[1:], widths[1:], styles, strict=True):
            if cell_width:
                text.append(_GAP)
                text.append(pad(look.safe(content), cell_width), style=style)
        text.rstrip()
        text.truncate(width)
        lines.append(text)
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _state_style(experiment: ExperimentRecord, health: Health) -> str:
    is_plain = health.word in ("finished", "alive")
    return STATUS_STYLES[experiment.status] if is_plain else HEALTH_STYLES[health.word]


def _last_sign(health: Health) -> datetime | None:
    signs = [sign for sign in (health.heartbeat_at, health.progress_at) if sign is not None]
    return max(signs, default=None)


def _start(started: datetime, now: datetime, zone: tzinfo | None, *, is_short: bool) -> str:
    return f"{coarse((now - started).total_seconds())} ago" if is_short else moment(started, zone)


def _cells(
    experiment: ExperimentRecord,
    health: Health,
    now: datetime,
    zone: tzinfo | None,
    *,
    is_short: bool = False,
) -> tuple[str, str, str, str, str]:
    """Return id, state, start, duration, errors."""
    started, ended = experiment.started_at, experiment.ended_at
    state: str = experiment.status if health.word in ("finished", "alive") else health.word
    if health.cause is not None and not is_short:
        state = f"{state}: {health.cause[-_MAX_CAUSE:]}"
    is_silent = ended is None and health.word in ("dead", "lost contact")
    until = ended or (_last_sign(health) if is_silent else None) or now
    took_s = None if started is None else max(0.0, (until - started).total_seconds())
    if is_silent and took_s is not None and took_s < HEARTBEAT_INTERVAL_S:
        took_s = None  # it ended before its second heartbeat, nobody here knows when
    return (
        experiment.id[:8],
        state,
        "" if started is None else _start(started, now, zone, is_short=is_short),
        "" if took_s is None else duration(took_s),
        f"{number(experiment.error_count)} err" if experiment.error_count else "",
    )
