"""Stacks of a process as indented lines, safe for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipespan.cli.render.look import FAINT
from pipespan.cli.render.text import lines_of, one_line, plain

Span = tuple[str, str]
"""A text and its style."""

_STATES: Final[Mapping[str, str]] = {
    "R": "running", "S": "sleeping", "D": "in uninterruptible sleep", "T": "stopped", "Z": "zombie", "t": "traced",
}  # fmt: skip


def render_dump(dump: Mapping[str, Any], *, ascii_only: bool, indent: str = "  ") -> Iterator[list[Span]]:
    """Yield the lines of a dump: threads, tasks, child processes; or what a timer wrote when nothing else could."""
    for depth, text, style in _lines(dump):
        yield [(plain(f"{indent}{'  ' * depth}{one_line(text)}", ascii_only=ascii_only), style)]


def _lines(dump: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    if isinstance(dump.get("error"), str):
        yield 0, dump["error"], "red"
    if isinstance(dump.get("stacks"), str):
        yield from ((0, line, "") for line in lines_of(dump["stacks"]))
    for entry in _entries(dump, "threads"):
        yield 0, f"thread {_name(entry)}{_wait(entry.get('wait'))}", "bold"
        yield from _stack(entry)
    for entry in _entries(dump, "tasks"):
        waits_for = f" awaits {entry['waits_for']}" if entry.get("waits_for") else ""
        yield 0, f"task {_name(entry)}{waits_for}", "bold"
        yield from _stack(entry)
    for entry in _entries(dump, "children"):
        yield 0, f"child process {entry.get('pid')}{_child(entry)}: {entry.get('command')}", "bold"
        if isinstance(entry.get("stacks"), Mapping):
            yield from ((depth + 1, text, style) for depth, text, style in _lines(entry["stacks"]))
    if dump.get("cut"):
        yield 0, str(dump["cut"]), FAINT


def _entries(dump: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = dump.get(name)
    yield from (
        (entry for entry in found or () if isinstance(entry, Mapping)) if isinstance(found, list) else ()
    )


def _stack(entry: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    for line in entry.get("stack") or ():
        yield 1, str(line), ""


def _name(entry: Mapping[str, Any]) -> str:
    names = entry.get("names")
    if not isinstance(names, list):
        return str(entry.get("name"))
    more = f" and {entry['count'] - len(names)} more" if entry.get("count", 0) > len(names) else ""
    return ", ".join(map(str, names)) + more


def _wait(wait: Any) -> str:
    if not isinstance(wait, Mapping):
        return ""
    words = [_STATES.get(str(wait.get("state")), "")]
    if wait.get("system_call"):
        descriptor = f" on {wait.get('on') or wait['descriptor']}" if "descriptor" in wait else ""
        words.append(f"in {wait['system_call']}{descriptor}")
    if wait.get("kernel_function"):
        words.append(f"kernel {wait['kernel_function']}")
    if wait.get("cpu_s"):
        words.append(f"{wait['cpu_s']} s of CPU so far")
    told = ", ".join(word for word in words if word)
    return f" ({told})" if told else ""


def _child(entry: Mapping[str, Any]) -> str:
    words = [str(entry[name]) for name in ("state", "kernel_function") if entry.get(name)]
    if entry.get("cpu_s"):
        words.append(f"{entry['cpu_s']} s of CPU so far")
    return f" ({', '.join(words)})" if words else ""
