"""The demo's pipeline with pipespan on, beside the same with PIPESPAN_DISABLED=1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement

import pipespan
from tests.bench.child import environment
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import Server, running_server

WATCHER_END_S = 2.5
"""A watcher looks every two seconds whether its folder is still there."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took; CPU time is that of the process and its workers."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def against_disabled(options: Options) -> dict[str, Samples]:
    """Measure wall time and memory over what the demo finds after the README's first command.

    Each run has a state folder of its own: that the watcher has to start is part of what is measured. The machine may
    give one run a third more time than the next, so the ratio of the fastest runs is told beside the median.
    """
    with running_server() as server, tempfile.TemporaryDirectory(prefix="pipespan-bench-") as folder:
        sources = Path(folder) / "sources"
        count = _sample(sources, every=options.pick(1, 15))
        for disabled in (False, True):
            _run(
                server, sources, "first", is_disabled=disabled
            )  # compiles what is imported, reads the files once
        pairs = []
        for number in range(options.pick(11, MIN_PAIRS)):
            runs = {
                disabled: _run(server, sources, f"state{number}", is_disabled=disabled)
                for disabled in ((False, True) if number % 2 else (True, False))
            }
            pairs.append((runs[False], runs[True]))
    cpu = median(on.cpu_s / off.cpu_s for on, off in pairs)
    fastest = min(on.wall_s for on, _ in pairs) / min(off.wall_s for _, off in pairs)
    return {
        "demo_wall": Samples(
            [on.wall_s for on, _ in pairs],
            [off.wall_s for _, off in pairs],
            note=f"{count} files; ratio of CPU time {cpu:.3f}, of the fastest runs {fastest:.3f}",
        ),
        "demo_memory": Samples([on.memory_mb for on, _ in pairs], [off.memory_mb for _, off in pairs]),
    }


def _sample(folder: Path, *, every: int) -> int:
    """Copy sources to `folder`: of the standard library, of pipespan, and of what it needs; return how many."""
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
        copy = folder / name
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


def _run(server: Server, sources: Path, state: str, *, is_disabled: bool) -> Run:
    answer = sources.parent / "answer.json"
    command = [
        sys.executable,
        "-m",
        "tests.bench.work.demo",
        str(sources),
        str(sources.parent / "out"),
        str(answer),
    ]
    environ = {
        **environment(server.state_dir / state),
        "PIPESPAN_DSN": server.dsn,
        **({"PIPESPAN_DISABLED": "1"} if is_disabled else {}),
    }
    start_s = time.perf_counter()
    process = subprocess.Popen(
        command, env=environ, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    memory_mb = json.loads(answer.read_text(encoding="utf-8"))["memory_mb"]
    # Its watcher ends with it, and takes no time from the runs that follow.
    shutil.rmtree(server.state_dir / state, ignore_errors=True)
    time.sleep(WATCHER_END_S)
    return Run(wall_s, usage.ru_utime + usage.ru_stime, memory_mb)
