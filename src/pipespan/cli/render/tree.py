"""The status of an experiment as a header and a tree with bars, percent, rate, ETA and error counts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from pipespan.cli.render.columns import Columns, Figures, figures_of, fit
from pipespan.cli.render.fold import MAX_LINES, TreeLine, fold
from pipespan.cli.render.look import ERROR, FAINT, HEALTH_STYLES, STATUS_STYLES, Look, look_for
from pipespan.cli.render.text import duration, expected, moment, pad, plural
from pipespan.query.deaths import ending_lines
from pipespan.query.status import NodeState, NodeView, StatusView
from pipespan.query.workers import stragglers_of

SHORT_ID_CHARS: Final = 8
"""As much of an id as is shown where a whole one has no room; it is a valid reference."""

MAX_STRAGGLERS: Final = 3
"""So many that are behind the others are named."""

MIN_WIDTH: Final = 20
"""A narrower terminal is drawn for as if it had this width."""


_TOLD_FIRST: Final[tuple[NodeState, ...]] = (
    "running",
    "interrupted",
    "failed",
    "cancelled",
    "completed",
    "pending",
)


def render_status(
    view: StatusView,
    width: int,
    ascii_only: bool,  # noqa: FBT001 - width and charset are how every renderer is called
    *,
    max_lines: int = MAX_LINES,
    depth: int | None = None,
) -> Text:
    """Return the header and the tree of `view`, no line longer than `width` cells.

    Args:
        view: what to show.
        width: of the terminal, in cells.
        ascii_only: the terminal knows nothing else.
        max_lines: fold the tree when it has more.
        depth: show no nodes deeper than this, roots being 1.
    """
    look = look_for(ascii_only=ascii_only)
    width = max(width, MIN_WIDTH)
    lines = [*_header(view, look, width), *_tree(view, look, width, max_lines, depth)]
    if view.error_count:
        hint = f"{plural(view.error_count, 'error')}: pipespan errors {view.experiment.id[:SHORT_ID_CHARS]}"
        lines.append(Text(look.short(hint, width), style=ERROR))
    return Text("\n", no_wrap=True, overflow="crop", end="\n").join(lines)


def state_words(view: StatusView) -> list[tuple[str, str]]:
    """Return the recorded status, and the health where it adds something, each with its style.

    That it is dead comes first: what was recorded before is no longer true.
    """
    recorded, word = view.experiment.status, view.health.word
    style = STATUS_STYLES[recorded]
    if word == "dead":
        return [(word, HEALTH_STYLES[word]), (f" (recorded as {recorded})", FAINT)]
    if word == "finished":
        return [(recorded, style)]
    return [(recorded, style), (", ", ""), (word, HEALTH_STYLES[word])]


def _header(view: StatusView, look: Look, width: int) -> list[Text]:
    experiment = view.experiment
    words = state_words(view)
    state = "".join(word for word, _ in words)
    name = look.short(look.safe(experiment.name), max(4, width - cell_len(state) - 4))
    title = Text()
    symbol: NodeState = "failed" if view.health.word == "dead" else experiment.status
    title.append(look.symbols[symbol], style=STATUS_STYLES[symbol])
    title.append(f" {name}", style="bold")
    title.append("  ")
    for word, style in words:
        title.append(word, style=style)
    title.truncate(width)
    lines = [title]
    lines.extend(Text(line, style=FAINT) for line in _wrapped(_facts(view, look), width))
    lines.extend(_monitoring(view, width))
    if view.health.word not in ("alive", "finished"):
        reason = look.safe(f"{view.health.word}: {view.health.reason}")
        lines.extend(Text(line, style=HEALTH_STYLES[view.health.word]) for line in _wrapped([reason], width))
    lines.extend(_endings(view, look, width))
    lines.extend(_stragglers(view, look, width))
    return lines


def _monitoring(view: StatusView, width: int) -> list[Text]:
    """Return what recording did and cost; in the colour of errors where rows were lost."""
    told = view.monitoring
    if told is None:
        return []
    facts = [f"monitoring: {told.accepted:,} rows, {told.shipped:,} shipped"]
    counts = (
        (told.waiting, "waiting"),
        (told.dropped, "dropped"),
        (told.rejected, "rejected"),
        (told.failed, "failed"),
    )
    facts[0] += "".join(f", {count:,} {word}" for count, word in counts)
    if told.spool_bytes:
        facts.append(f"spool {told.spool_bytes / 1e6:.1f} MB")
    facts.append(f"CPU {told.cpu_s:.1f} s, {told.cpu_share:.1%} of the job's")
    style = ERROR if told.lost else FAINT
    return [Text(line, style=style) for line in _wrapped(facts, width)]


def _stragglers(view: StatusView, look: Look, width: int) -> list[Text]:
    """Return who is behind its peers, a line for each, and how many more there are."""
    found = stragglers_of(view)
    told = [f"behind: {one.who}: {one.reason} ({one.node_id})" for one in found[:MAX_STRAGGLERS]]
    if len(found) > MAX_STRAGGLERS:
        told.append(f"behind: {len(found) - MAX_STRAGGLERS:,} more; see `pipespan status --workers`")
    return [Text(f"  {look.short(look.safe(one), width - 2)}", style="yellow") for one in told]


def _endings(view: StatusView, look: Look, width: int) -> list[Text]:
    """Return how attempts and processes ended that did not succeed, a line or two for each."""
    attempt = max((job.attempt for job in view.jobs), default=view.experiment.attempt)
    # Of one that is dead the health tells already.
    endings = [one for one in view.endings if view.health.word != "dead" or one.attempt < attempt]
    told = ending_lines(endings, attempt, has_failed=view.is_over and view.experiment.status != "completed")
    if view.health.word == "finished" and view.health.reason.endswith(("still runs", "still run")):
        told.append(view.health.reason.rpartition("; ")[2])
    lines = [line for one in told for line in _wrapped([look.short(look.safe(one), 2 * width)], width)]
    return [Text(line, style=ERROR) for line in lines]


def _facts(view: StatusView, look: Look) -> list[str]:
    experiment = view.experiment
    facts = [f"id {experiment.id}"]
    if experiment.started_at is not None:
        facts.append(f"started {look.safe(moment(experiment.started_at))}")
    if experiment.attempt > 1:
        facts.append(f"attempt {experiment.attempt}")
    if view.duration_s is not None:
        facts.append(f"{'took' if view.is_over else 'elapsed'} {duration(view.duration_s)}")
    if view.eta_s is not None:
        facts.append(f"ETA {expected(view.eta_s)}")
    facts.append(_node_counts(view))
    if view.jobs:
        facts.append(plural(len(view.jobs), "process", "processes"))
    return facts


def _node_counts(view: StatusView) -> str:
    present: list[NodeState] = [status for status in _TOLD_FIRST if view.counts.get(status)]
    total = sum(view.counts.values())
    if len(present) == 1:
        return f"{plural(total, 'node')} {present[0]}"
    told = ", ".join(f"{view.counts[status]:,} {status}" for status in present)
    return f"{plural(total, 'node')}: {told}" if told else "no nodes yet"


def _wrapped(pieces: Iterable[str], width: int) -> list[str]:
    """Return `pieces` joined into lines of at most `width` cells, indented by two."""
    lines: list[str] = []
    for piece in pieces:
        if lines and cell_len(lines[-1]) + 2 + cell_len(piece) <= width:
            lines[-1] += f"; {piece}"
        else:
            lines.extend("  " + part for part in textwrap.wrap(piece, width - 2) or [""])
    return lines


def _tree(view: StatusView, look: Look, width: int, max_lines: int, depth: int | None) -> list[Text]:
    lines = fold(view.roots, max_lines=max_lines, depth=depth)
    nodes = [line.node for line in lines if line.node is not None]
    figures = {id(node): figures_of(node, look) for node in nodes}
    labels = {id(line): _label(line, look, width) for line in lines}
    columns = fit(
        list(figures.values()), (cell_len("".join(labels[id(line)])) for line in lines if line.node), width
    )
    drawn: list[Text] = []
    for line in lines:
        if line.node is None:
            drawn.append(_fold_line(line, look, width))
            continue
        drawn.append(_node_line(line.node, labels[id(line)], figures[id(line.node)], columns, look, width))
        if line.has_note:
            drawn.append(_note_line(line, line.node, look, width))
    return drawn


def _label(line: TreeLine, look: Look, width: int) -> tuple[str, str, str]:
    """Return branches, symbol and name."""
    if line.node is None:
        return _branches(line, look, width), "", ""
    return (
        _branches(line, look, width),
        look.symbols[line.node.state],
        " " + look.safe(line.node.record.node_name),
    )


def _branches(line: TreeLine, look: Look, width: int) -> str:
    if not line.ancestors_last:
        return ""
    stems = "".join(" " * len(look.stem) if is_last else look.stem for is_last in line.ancestors_last[1:])
    drawn = stems + (look.last_branch if line.is_last else look.branch)
    # However deep it goes, the name needs room: of many levels only the lowest are drawn.
    return drawn[-(width // 3) :]


def _node_line(
    node: NodeView, label: tuple[str, str, str], figures: Figures, columns: Columns, look: Look, terminal: int
) -> Text:
    branches, symbol, name = label
    status = node.state
    room = columns.label - cell_len(branches) - cell_len(symbol)
    text = Text().append(branches, style=FAINT)
    text.append(symbol, style=STATUS_STYLES[status])
    text.append(pad(look.short(name, max(0, room)), room), style=FAINT if status == "pending" else "")
    if columns.bar:
        text.append("  ")
        _append_bar(text, figures, columns.bar, STATUS_STYLES[status], look)
    units = figures.units if columns.has_unit else figures.counts
    cells = (
        (figures.percent, columns.percent, "", True),
        (units, columns.units, "", True),
        (figures.rate, columns.rate, FAINT, True),
        (figures.coarse_duration if columns.is_coarse else figures.duration, columns.duration, FAINT, True),
        (figures.coarse_eta if columns.is_coarse else figures.eta, columns.eta, "cyan", False),
        (figures.errors, columns.errors, ERROR, True),
    )
    for content, width, style, is_right in cells:
        if width:
            text.append("  ")
            text.append(pad(content, width, right=is_right), style=style)
    text.rstrip()
    text.truncate(terminal)
    return text


def _append_bar(text: Text, figures: Figures, width: int, style: str, look: Look) -> None:
    if figures.ppb is None:
        text.append(" " * width)
        return
    full, rest = look.bar(figures.ppb, width)
    text.append(full, style=style)
    text.append(rest, style=FAINT)


def _fold_line(line: TreeLine, look: Look, width: int) -> Text:
    branches = _branches(line, look, width)
    status = line.folded_status
    what = status or ("more nodes" if len(line.folded) != 1 else "more node")
    errors = sum(node.errors_within for node in line.folded)
    text = Text().append(branches, style=FAINT)
    text.append(
        f"{look.more} {len(line.folded):,} {what}", style=FAINT if status is None else STATUS_STYLES[status]
    )
    if errors:
        text.append(f"  {plural(errors, 'error')}", style=ERROR)
    text.truncate(width)
    return text


def _note_line(line: TreeLine, node: NodeView, look: Look, width: int) -> Text:
    """Return the line below a node that says why it failed or what it does."""
    above: Sequence[bool] = (*line.ancestors_last[1:], line.is_last) if line.ancestors_last else ()
    stems = "".join(" " * len(look.stem) if is_last else look.stem for is_last in above)[-(width // 3) :]
    record = node.record
    is_failed = record.status == "failed"
    message = look.safe((record.message or "").strip().split("\n", 1)[0])
    if is_failed and record.error_type and record.error_type not in message:
        message = f"{look.safe(record.error_type)}: {message}".removesuffix(": ")
    text = Text().append(f"{stems}{look.stem[0] if node.children else ' '} ", style=FAINT)
    text.append(
        look.short(message, max(4, width - cell_len(text.plain))), style=ERROR if is_failed else FAINT
    )
    text.truncate(width)
    return text
