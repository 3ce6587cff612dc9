"""Programs that come to an end, and what the database says of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from pipespan.config import Settings, load_settings

ResultT = TypeVar("ResultT")

SRC = Path(__file__).parents[2] / "src"
LIMIT_S = 10.0
"""A death is told within this time, on its own."""

PRELUDE = """
import os, sys, time, signal, threading, ctypes, faulthandler, logging, subprocess, multiprocessing, asyncio
import pipespan
log = pipespan.get_logger("patient")
def ready():
    for n in range(60): log.info(f"line {n}")
    pipespan.flush(10)
    print("ready", flush=True)
    sys.stdin.readline()  # the watcher is to see it first
def fall(how):
    # The body of most programs: a pipeline, a phase, and a step that is at 3 of 10.
    with pipespan.pipeline("patient"), pipespan.phase("load"), pipespan.step("shard", total=10, unit="files") as step:
        step.progress(3)
        ready()
        how()
"""


class Ward:
    """Starts programs in a state folder of the test's own, and reads what became of them.

    Args:
        folder: of the test.
        dsn: of a fresh database.
    """

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.started: list[subprocess.Popen[str]] = []

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def spool_dir(self) -> Path:
        return self.state_dir / "spool"

    def settings(self) -> Settings:
        return load_settings({}, self.folder, state_dir=self.state_dir, dsn=self.dsn)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))
        }
        ours = {
            "PYTHONPATH": str(SRC),
            "PIPESPAN_STATE_DIR": str(self.state_dir),
            "PIPESPAN_DSN": self.dsn,
            "PIPESPAN_EXIT_TIMEOUT_S": "20",
        }
        # What moved within one interval of progress before a sudden death is not known.
        return {**kept, **ours, "PIPESPAN_PROGRESS_INTERVAL_S": "0.05", "PIPESPAN_WATCHER": "1", **more}

    def script(self, source: str) -> Path:
        path = self.folder / f"patient{len(list(self.folder.glob('patient*.py')))}.py"
        path.write_text(PRELUDE + textwrap.dedent(source))
        return path

    def start(self, source: str, *, before: tuple[str, ...] = (), **environ: str) -> subprocess.Popen[str]:
        """Start a program, under the command `before` if there is one."""
        child = subprocess.Popen(
            [*before, sys.executable, str(self.script(source))],
            env=self.environment(**environ),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(child)
        return child

    def until_ready(self, child: subprocess.Popen[str], *, is_watched: bool = True) -> None:
        """Wait until a program is where it is to die, and the watcher knows of it."""
        assert child.stdout is not None
        for line in child.stdout:
            if "ready" in line:
                break
        else:
            raise AssertionError(child.communicate()[1])
        if is_watched:
            self.eventually(lambda: self._is_watched(child.pid) or None)
        if child.stdin is not None:
            child.stdin.close()
            child.stdin = None

    def _is_watched(self, pid: int) -> bool:
        """Tell whether a process outside of the program's holds a pidfd: then the watcher has seen it."""
        if not hasattr(os, "pidfd_open"):
            return True
        return any(f"Pid:\t{pid}\n" in text for text in _pidfds())

    def run(self, source: str, **options: Any) -> tuple[int, str]:
        """Run a program to its end; return its exit status and what it said on stderr."""
        child = self.start(source, **options)
        self.until_ready(child)
        _, err = child.communicate(timeout=30)
        return child.returncode, err

    def eventually(self, ask: Callable[[], ResultT | None], limit_s: float = LIMIT_S + 5) -> ResultT:
        """Return what `ask` gives once it gives something."""
        deadline = time.monotonic() + limit_s
        while (found := ask()) is None:
            assert time.monotonic() < deadline, self.rows("select * from processing_jobs")
            time.sleep(0.05)
        return found

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload] # a literal of the tests

    def death(self, *, deaths: int = 1) -> dict[str, Any]:
        """Wait for the event of a death; return the last one, and check that there are no more than expected."""
        query = "select * from pipeline_events where event_type = 'death' order by id"
        found = self.eventually(lambda: events if len(events := self.rows(query)) >= deaths else None)
        assert len(found) == deaths
        return found[-1]

    def job(self) -> dict[str, Any]:
        (found,) = self.rows("select * from processing_jobs")
        return found

    def statuses(self) -> dict[str, str]:
        return {
            row["node_id"]: row["status"]
            for row in self.rows("select node_id, status from pipeline_progress")
        }

    def experiment_status(self) -> str:
        (found,) = self.rows("select status from experiments")
        return str(found["status"])

    def end(self) -> None:
        """End what still runs, the watcher too."""
        for child in self.started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        end_watchers(self.state_dir)


def watchers_of(state_dir: Path) -> list[int]:
    """Return the watchers of a state folder."""
    found = []
    wanted = f"PIPESPAN_STATE_DIR={state_dir}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_watcher = b"pipespan.wiring.watcher" in (place / "cmdline").read_bytes()
            if is_watcher and wanted in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found


def end_watchers(state_dir: Path) -> None:
    """Kill the watchers of a state folder."""
    for pid in watchers_of(state_dir):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pidfds() -> list[str]:
    texts = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"pipespan.wiring.watcher" not in (place / "cmdline").read_bytes():
                continue
            for fd in (place / "fdinfo").iterdir():
                with suppress(OSError):
                    text = fd.read_text()
                    if "Pid:" in text:
                        texts.append(text)
    return texts
