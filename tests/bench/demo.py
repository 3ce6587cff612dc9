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
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.child import environment
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import Server, running_server


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took; CPU time is that of the process and its workers."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def against_disabled(options: Options) -> dict[str, Samples]:
    """Measure wall time and memory over a part of the standard library."""
    with running_server() as server, tempfile.TemporaryDirectory(prefix="pipespan-bench-") as folder:
        sources = Path(folder) / "sources"
        count = _sample(sources, every=options.pick(1, 15))
        for disabled in (False, True):
            _run(server, sources, is_disabled=disabled)  # compiles what is imported, reads the files once
        pairs = []
        for number in range(MIN_PAIRS):
            runs = {
                disabled: _run(server, sources, is_disabled=disabled)
                for disabled in ((False, True) if number % 2 else (True, False))
            }
            pairs.append((runs[False], runs[True]))
    cpu = median(on.cpu_s / off.cpu_s for on, off in pairs)
    return {
        "demo_wall": Samples(
            [on.wall_s for on, _ in pairs],
            [off.wall_s for _, off in pairs],
            note=f"{count} files; ratio of CPU time {cpu:.3f}",
        ),
        "demo_memory": Samples([on.memory_mb for on, _ in pairs], [off.memory_mb for _, off in pairs]),
    }


def _sample(folder: Path, *, every: int) -> int:
    """Copy some of the standard library's sources to `folder`; return how many."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = [path for path in sorted(library.rglob("*.py")) if "site-packages" not in path.parts][::every]
    for path in found:
        copy = folder / path.relative_to(library)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return len(found)


def _run(server: Server, sources: Path, *, is_disabled: bool) -> Run:
    answer = sources.parent / "answer.json"
    command = [
        sys.executable,
        "-m",
        "tests.bench.work.demo",
        str(sources),
        str(sources.parent / "out"),
        str(answer),
    ]
    environ = {**environment(server.state_dir), **({"PIPESPAN_DISABLED": "1"} if is_disabled else {})}
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
    return Run(wall_s, usage.ru_utime + usage.ru_stime, memory_mb)
