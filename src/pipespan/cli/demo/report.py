"""The demo's result: one report, for people as Markdown and for programs as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pipespan.cli.demo.measures import ImportGraph, PackageFigures
from pipespan.cli.demo.sources import Function, Module

TOP: Final = 15
"""Rows of each table."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that could not be read or parsed."""

    path: str
    error: str


@dataclass(slots=True)
class Findings:
    """What the phases found, and what they had no time for."""

    modules: list[Module] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    packages: list[PackageFigures] = field(default_factory=list)
    graph: ImportGraph = field(default_factory=ImportGraph)
    skipped: dict[str, int] = field(default_factory=dict)


def summary(findings: Findings) -> dict[str, Any]:
    """Return the report as one JSON object."""
    modules = findings.modules
    worst = sorted(chain.from_iterable(module.worst for module in modules), key=lambda one: -one.complexity)
    slowest = sorted(modules, key=lambda module: -module.seconds)
    return {
        "files": len(modules) + len(findings.broken),
        "lines": sum(module.lines for module in modules),
        "size_bytes": sum(module.source.size_bytes for module in modules),
        "functions": sum(len(module.complexities) for module in modules),
        "compiler_warnings": sum(module.warning_count for module in modules),
        "encodings": dict(Counter(module.source.encoding for module in modules).most_common()),
        "skipped": findings.skipped,
        "unparsable": [asdict(broken) for broken in findings.broken],
        "most_complex_functions": [asdict(function) for function in worst[:TOP]],
        "slowest_files": [
            {"path": module.source.path, "seconds": round(module.seconds, 4), "lines": module.lines}
            for module in slowest[:TOP]
        ],
        "most_imported": dict(findings.graph.importers.most_common(TOP)),
        "packages": [asdict(package) for package in findings.packages],
    }


def write_report(findings: Findings, folder: Path) -> tuple[Path, Path]:
    """Write both forms into `folder` and return their paths: Markdown, JSON."""
    content = summary(findings)
    markdown, document = folder / "report.md", folder / "report.json"
    folder.mkdir(parents=True, exist_ok=True)
    document.write_text(json.dumps(content, indent=1), encoding="utf-8")
    markdown.write_text(as_markdown(content, findings), encoding="utf-8")
    return markdown, document


def as_markdown(content: dict[str, Any], findings: Findings) -> str:
    """Return the report as text."""
    lines = [
        "# The Python sources of this machine",
        "",
        f"{content['files']:,} files, {content['lines']:,} lines, {content['functions']:,} functions.",
        f"{len(findings.broken)} files do not parse; the compiler had {content['compiler_warnings']:,} warnings.",
    ]
    if findings.skipped:
        left = ", ".join(f"{count:,} files in *{phase}*" for phase, count in findings.skipped.items())
        lines += ["", f"**Incomplete**: the time was up; skipped were {left}."]
    lines += ["", "## Most complex functions", ""]
    lines += _table(("complexity", "function", "place"), _function_rows(content["most_complex_functions"]))
    lines += ["", "## Slowest files to parse", ""]
    rows = [(f"{one['seconds']:.3f} s", f"{one['lines']:,}", one["path"]) for one in content["slowest_files"]]
    lines += _table(("time", "lines", "file"), rows)
    lines += ["", "## Most imported modules", ""]
    lines += _table(
        ("importing modules", "module"), [(n, name) for name, n in content["most_imported"].items()]
    )
    lines += ["", "## Largest packages", ""]
    lines += _table(
        ("package", "modules", "lines", "functions", "mean complexity", "95 %", "largest import cycle"),
        [_package_row(package) for package in findings.packages[:TOP]],
    )
    lines += ["", "## Files that do not parse", ""]
    lines += _table(("file", "error"), [(broken.path, broken.error) for broken in findings.broken])
    return "\n".join(lines) + "\n"


def _function_rows(functions: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(one["complexity"], one["name"], f"{one['path']}:{one['line']}") for one in functions]


def _package_row(package: PackageFigures) -> tuple[Any, ...]:
    cycle = f"{len(package.largest_cycle)} modules" if package.largest_cycle else "none"
    return (
        package.name, f"{package.modules:,}", f"{package.lines:,}", f"{package.functions:,}",
        f"{package.mean_complexity:.1f}", package.p95_complexity, cycle,
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    body = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not body:
        return ["none"]
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *body]


def most_complex(modules: Iterable[Module]) -> Function | None:
    """Return the single most complex function."""
    return max(
        (one for module in modules for one in module.worst), key=lambda one: one.complexity, default=None
    )
