"""Rules, reports and findings of looking after a database, as lines of at most 80 columns where names allow it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from pipespan.cli.render.text import moment, number, one_line, pad, plural, scaled, shorten
from pipespan.model.retention import Retention
from pipespan.query.doctor import Finding, Level
from pipespan.store.maintenance import Inspection, PruneReport

_LISTED: Final = 10
"""So many experiments are named; how many more there are is told."""

_STYLES: Final[dict[Level, str]] = {"ok": "green", "note": "yellow", "problem": "bold red"}


def retention_text(rules: Retention) -> str:
    """Return the rules as part of a sentence."""
    parts = []
    if rules.mild_days is not None:
        parts.append(f"logs below ERROR {plural(rules.mild_days, 'day')}")
    if rules.rest_days is not None:
        parts.append(f"everything {plural(rules.rest_days, 'day')}")
    if rules.max_bytes is not None:
        parts.append(f"at most {size(rules.max_bytes)} in all")
    return ", ".join(parts)


def size(count: int) -> str:
    """Return bytes in powers of ten."""
    text = scaled(count)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


def prune_lines(report: PruneReport) -> Iterator[str]:
    """Yield what went, or would go."""
    would = "would go" if report.is_dry_run else "went"
    if not report.partitions and not report.experiments and not report.rows:
        yield "nothing to remove" if report.is_dry_run else "nothing was to be removed"
    for table in ("pipeline_logs", "pipeline_events", "pipeline_metrics"):
        parts = [one for one in report.partitions if one.partition.startswith(f"{table}_")]
        if parts:
            rows, freed = sum(one.rows for one in parts), sum(one.bytes for one in parts)
            days = f"{one_line(parts[0].partition)} to {one_line(parts[-1].partition)}"
            yield f"{table}: about {plural(rows, 'row')}, {size(freed)} {would}"
            yield f"  from {plural(len(parts), 'partition')}" + (f", {days}" if len(parts) > 1 else "")
    if report.experiments:
        yield f"{plural(len(report.experiments), 'experiment')} {would} as a whole:"
        for one in report.experiments[:_LISTED]:
            name = shorten(one_line(one.name), 40)
            yield f"  {one.id[:8]}  {pad(name, 40)}  last sign {one.last_sign:%Y-%m-%d}"
        if len(report.experiments) > _LISTED:
            yield f"  and {number(len(report.experiments) - _LISTED)} more"
    if report.rows:
        yield f"{plural(report.rows, 'row')} of experiments and default partitions {would}"
    after = "about " if report.is_dry_run else ""
    yield f"size: {size(report.bytes_before)} before, {after}{size(report.bytes_after)} after"


def prune_warnings(report: PruneReport) -> Iterator[str]:
    """Yield what was not reached."""
    if report.busy:
        yield f"{plural(len(report.busy), 'partition')} in use all the time; `pipespan db prune` again reaches them"
    if report.is_over_limit and report.max_bytes is not None:
        yield f"more than {size(report.max_bytes)} is left: it is pinned, of today, or in experiments that run"


def inspection_lines(found: Inspection, findings: Sequence[Finding], width: int) -> Iterator[Text]:
    """Yield the report of the doctor."""
    server = found.server_version.split()[0] if found.server_version.split() else "?"
    yield Text(f"database {one_line(found.database)}, Postgres {one_line(server)}")
    if found.sizes:
        yield Text("")
        yield from map(Text, _sizes(found))
        yield Text("")
        yield from map(Text, _facts(found))
        yield Text("")
    for one in findings:
        head = pad(one.level, 9)
        lines = textwrap.wrap(
            f"{one.subject}: {one_line(one.text)}",
            max(width - 9, 30),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for place, line in enumerate(lines):
            yield Text.assemble((head, _STYLES[one.level]), line) if place == 0 else Text(" " * 9 + line)


def _sizes(found: Inspection) -> Iterator[str]:
    yield f"{'table':<20}{'rows, about':>14}{'size':>12}{'partitions':>12}{'dead rows':>12}"
    partitions = {one.table: one.count for one in found.partitions}
    dead = {one.table: one.dead for one in found.dead}
    for one in found.sizes:
        count = number(partitions[one.name]) if one.name in partitions else ""
        yield (
            f"{one.name:<20}{number(one.rows):>14}{size(one.bytes):>12}{count:>12}"
            f"{number(dead.get(one.name, 0)):>12}"
        )
    yield f"{'in all':<20}{'':>14}{size(sum(one.bytes for one in found.sizes)):>12}"


def _facts(found: Inspection) -> Iterator[str]:
    ends = [one.ends_at for one in found.partitions if one.ends_at is not None]
    starts = [one.starts_at for one in found.partitions if one.starts_at is not None]
    if starts and ends:
        yield f"partitions from {min(starts):%Y-%m-%d} to {min(ends):%Y-%m-%d} (UTC)"
    timed = sorted((one.seconds, one.name) for one in found.queries if one.seconds is not None)
    if timed:
        yield "slowest queries: " + ", ".join(f"{name} {s * 1000:.0f} ms" for s, name in timed[:-4:-1])
    idle = [one for one in found.indexes if not one.scans]
    yield f"indexes: {len(found.indexes)}, {len(idle)} of them not used since statistics began"
    state = found.retention
    rules = "none" if state.rules is None else retention_text(state.rules)
    yield f"retention: {rules}{' (built in)' if state.is_default else ''}"
    last = "never" if state.last_run_at is None else moment(state.last_run_at)
    yield f"  last applied by a writer: {last}; pinned: {plural(state.pinned, 'experiment')}"
