"""Child processes that write a spool; started as `python -m tests.spool.children WHAT FOLDER ...`."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pipespan
from tests.fixtures import rows
from tests.spool.support import new_writer


def start_child(what: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start one of the functions below in a process of its own."""
    root = Path(__file__).parents[2]
    paths = [str(root), str(Path(pipespan.__file__).parents[1])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.spool.children", what, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def write_and_wait(folder: str, count: str) -> None:
    """Write, say which stream, and live on until stdin is closed."""
    writer = new_writer(Path(folder))
    for number in range(int(count)):
        writer.write(rows.event(f"event {number}"))
    assert writer.stream is not None
    say(writer.stream.folder.name)
    sys.stdin.read()


def write_for_ever(folder: str) -> None:
    """Write and say the number after each call has returned."""
    writer = new_writer(Path(folder), segment_bytes=4000)
    number = 0
    while True:
        writer.write(rows.event(f"event {number}"))
        say(number)
        number += 1


def write_under_signals(folder: str, seconds: str) -> None:
    """Write in a loop while a signal's handler writes as well; say how many rows each of them wrote."""
    writer = new_writer(Path(folder), segment_bytes=30_000)
    counts = {"loop": 0, "handler": 0}

    def handle(_signal: int, _frame: object) -> None:
        writer.write(rows.event(f"handler {counts['handler']}"))
        counts["handler"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0.0002)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline:
        writer.write(rows.event(f"loop {counts['loop']}"))
        counts["loop"] += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    say(f"{counts['loop']} {counts['handler']} {writer.counters.failed}")


def write_on_a_small_disk(folder: str, limit: str, count: str) -> None:
    """Write with a limit on the size of files, which acts as a full disk does; lift it; write one row more."""
    from pipespan.spool import writer as writer_module

    writer_module.RETRY_S = 0.0  # type: ignore[misc] # the pause would only cost time here
    writer = new_writer(Path(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    for number in range(int(count)):
        writer.write(rows.event(f"event {number}"))
    say(f"{writer.held_rows()} {writer.counters.dropped} {writer.counters.failed}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.write(rows.event("the last one"))
    say(f"{writer.held_rows()} {writer.counters.dropped} {writer.counters.failed}")


def write_in_a_fork(folder: str) -> None:
    """Write, fork, and write on both sides; the parent says both streams."""
    writer = new_writer(Path(folder))
    writer.write(rows.event("parent before"))
    assert writer.stream is not None
    say(writer.stream.folder.name)
    pid = os.fork()
    if pid == 0:
        writer.after_fork_in_child()
        writer.write(rows.event("child"))
        say(*(one for one in os.listdir(folder) if one in writer.own_ids))
        os._exit(0)
    os.waitpid(pid, 0)
    writer.write(rows.event("parent after"))
    say("ready")
    sys.stdin.read()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
