"""The demo's pipeline with pipespan on, beside the same with PIPESPAN_DISABLED=1."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement

import pipespan
from pipespan.config import load_settings
from tests.bench.child import environment
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import Server, running_server
from tests.bench.slices import Took, by_turns

PAIRS = 31
"""Single pairs differ by three percent on a machine that others use too; the median of so many, by a third of one."""

WATCHER_END_S = 2.5
"""A watcher looks every two seconds whether its folder is still there."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took."""

    took: Took
    memory_mb: float


def against_disabled(options: Options) -> dict[str, Samples]:
    """Measure wall time and memory over what the demo finds after the README's first command."""
    pairs, note = _measured(options, count=options.pick(PAIRS, MIN_PAIRS), copies=1)
    return {
        "demo_wall": _walls(pairs, note),
        "demo_memory": Samples([on.memory_mb for on, _ in pairs], [off.memory_mb for _, off in pairs]),
    }


def of_half_a_minute(options: Options) -> dict[str, Samples]:
    """Measure wall time over four times as much: what a start takes, and a watcher's, counts less there."""
    pairs, note = _measured(options, count=MIN_PAIRS, copies=options.pick(4, 1))
    return {"demo_wall_30s": _walls(pairs, note)}


def _measured(options: Options, *, count: int, copies: int) -> tuple[list[tuple[Run, Run]], str]:
    """Run the demo with pipespan on and off, side by side in slices; return the pairs, and what they were over.

    It is started as by `pipespan demo`, whose view of it is left out: that is another program, which looks on. Each run
    has a state folder of its own: that the watcher has to start is part of what is measured.
    """
    with running_server() as server, tempfile.TemporaryDirectory(prefix="pipespan-bench-") as folder:
        sources = Path(folder) / "sources"
        files = sum(
            _sample(sources, every=options.pick(1, 15), mark=str(number or "")) for number in range(copies)
        )
        _pair(server, sources, "first")  # compiles what is imported, reads the files once
        pairs = [_pair(server, sources, f"state{number}") for number in range(count)]
    return pairs, f"{files} files"


def _walls(pairs: Sequence[tuple[Run, Run]], note: str) -> Samples:
    cpu = median(on.took.cpu_s / off.took.cpu_s for on, off in pairs)
    return Samples(
        [on.took.wall_s for on, _ in pairs],
        [off.took.wall_s for _, off in pairs],
        note=f"{note}; ratio of CPU time {cpu:.3f}",
    )


def _sample(folder: Path, *, every: int, mark: str = "") -> int:
    """Copy sources to `folder`: of the standard library, of pipespan, and of what it needs; return how many.

    `mark` makes the names of their packages others.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    ours = Path(pipespan.__file__).parents[1]
    found = {
        path: path.relative_to(library) for path in library.rglob("*.py") if "site-packages" not in path.parts
    }
    found.update({path: path.relative_to(ours) for path in (ours / "pipespan").rglob("*.py")})
    for needed in _needed("pipespan", ("embedded",)):
        found.update(
            {Path(str(one.locate())): Path(*one.parts) for one in needed.files or () if one.suffix == ".py"}
        )
    chosen = sorted(found.items(), key=lambda item: item[1])[::every]
    for path, name in chosen:
        first, *others = name.parts
        copy = folder / Path(first).with_stem(f"{Path(first).stem}{mark}") / Path(*others)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return len(chosen)


def _needed(name: str, extras: Sequence[str]) -> list[metadata.Distribution]:
    """Return the distributions that installing `name` brings along, itself left out."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(name, tuple(extras))]
    while waiting:
        wanted, wanted_extras = waiting.pop()
        for line in metadata.distribution(wanted).requires or ():
            needed = Requirement(line)
            holds = [
                needed.marker is None or needed.marker.evaluate({"extra": one})
                for one in ("", *wanted_extras)
            ]
            if any(holds) and needed.name not in found:
                found[needed.name] = metadata.distribution(needed.name)
                waiting.append((needed.name, tuple(needed.extras)))
    return list(found.values())


def _pair(server: Server, sources: Path, state: str) -> tuple[Run, Run]:
    """Run the demo with pipespan on and off."""
    names = ("on", "off")
    took = by_turns([partial(_start, server, sources, state, name) for name in names])
    on, off = (
        Run(one, json.loads(_answer(sources, name).read_text(encoding="utf-8"))["memory_mb"])
        for one, name in zip(took, names, strict=True)
    )
    # The watcher ends with its folder, and takes no time from the runs that follow.
    shutil.rmtree(server.state_dir / state, ignore_errors=True)
    time.sleep(WATCHER_END_S)
    return on, off


def _start(
    server: Server, sources: Path, state: str, name: str, marks: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.work.demo",
        str(sources),
        str(sources.parent / f"out-{name}"),
        str(_answer(sources, name)),
    ]
    environ = {
        **environment(server.state_dir / state / name),
        "PIPESPAN_DSN": server.dsn,
        **({"PIPESPAN_DISABLED": "1"} if name == "off" else _twice_as_long()),
        **marks,
    }
    (server.state_dir / state / name).mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        command, env=environ, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip


def _answer(sources: Path, name: str) -> Path:
    return sources.parent / f"answer-{name}.json"


def _twice_as_long() -> dict[str, str]:
    """Return what is done by the clock, at intervals twice as long: a run has half of the time.

    Those of the watcher are no settings: it looks twice as often as it does beside a run that has all of the time.
    """
    names = (
        "progress_interval_s",
        "flush_interval_s",
        "sample_interval_s",
        "metrics_interval_s",
        "heartbeat_interval_s",
    )
    defaults = load_settings({}, Path("/"))
    return {f"PIPESPAN_{name.upper()}": str(2 * getattr(defaults, name)) for name in names}
