"""The processes that share the work, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from pipespan.cli.render.look import FAINT, HEALTH_STYLES, look_for
from pipespan.cli.render.text import pad
from pipespan.query.workers import Worker

_TITLES = ("RANK", "HOST", "PID", "HEALTH", "DONE", "NODES", "NOW")


def render_workers(workers: Sequence[Worker], width: int, ascii_only: bool) -> Text:  # noqa: FBT001 - as every renderer
    """Return one line for each worker, none longer than `width`; who is behind the others is marked."""
    look = look_for(ascii_only=ascii_only)
    if not workers:
        return Text("no process has recorded anything yet")
    rows = [
        (
            "-"
            if one.rank is None
            else str(one.rank) + ("" if one.world_size is None else f"/{one.world_size}"),
            look.safe(one.host),
            str(one.pid),
            one.health,
            ("-" if one.progress_percent is None else f"{one.progress_percent:.0f}%")
            + (" behind" if one.is_straggler else ""),
            f"{one.ended:,} done" + (f", {one.failed:,} failed" if one.failed else ""),
            look.safe(one.node or ""),
        )
        for one in workers
    ]
    widths = [max(map(cell_len, column)) for column in zip(_TITLES, *rows, strict=True)]
    lines = [
        Text("  ".join(pad(title, size) for title, size in zip(_TITLES, widths, strict=True)), style="bold")
    ]
    for worker, cells in zip(workers, rows, strict=True):
        line = Text()
        for place, (cell, size) in enumerate(zip(cells, widths, strict=True)):
            style = {
                3: HEALTH_STYLES.get(worker.health, ""),
                4: "yellow" if worker.is_straggler else "",
                6: FAINT,
            }
            line.append(pad(cell, size) + "  ", style=style.get(place, ""))
        lines.append(line)
    for line in lines:
        line.rstrip()
        line.truncate(width)
    return Text("\n", no_wrap=True, overflow="crop").join(lines)
