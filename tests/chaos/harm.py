"""The job that runs through all faults, and the books that are kept of it.

It works in two halves; between them it waits for a word, so that a fault can be made in its midst. What it records,
what it prints and how it exits is known exactly, whatever happens to the database, the disk or a collector.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from pipespan.config import load_settings
from pipespan.spool.orphans import find_streams
from pipespan.store.postgres.read import PostgresSource
from pipespan.wiring.ship import ship
from tests.wiring.programs import Programs, Seen

HALF = 150
"""Log lines and units of each half; every third line is a warning, the others are INFO."""

CODE = 7
"""The job's exit status."""

EXIT_S: float = load_settings({}, state_dir=Path("/nowhere")).exit_timeout_s
"""How long an exit waits for the database by default."""

MARGIN_S = 8.0
"""What a busy machine may add to the time of a program; a fault that is waited for costs a minute, or never ends."""

JOB = """
    import json
    if os.environ.get("HARM_BEFORE"):
        exec(os.environ["HARM_BEFORE"])
    count = int(sys.argv[1])
    log = pipespan.get_logger("job")
    def half(first):
        for number in range(first, first + count):
            (log.warning if number % 3 == 0 else log.info)(f"line {number}")
            step.advance()
            if number % 10 == 0:
                with run.step(f"part {number}") as part:
                    part.metric(number=number)
    def word(text):
        print(text, flush=True)
        sys.stdin.readline()
    with pipespan.pipeline("run") as run, run.step("s", total=2 * count) as step:
        half(0)
        word("half")
        started = time.perf_counter()
        half(count)
        took = time.perf_counter() - started
        word("whole")
    health = pipespan.health()
    print(json.dumps({"took_s": took, "dropped": health.dropped_rows, "rejected": health.rejected_rows,
                      "failed": health.failed_rows, "error": health.last_error}), flush=True)
    sys.exit(int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        took_s: its second half, by its own clock.
        exit_s: from the last word that it was given to its end.
        told: what `pipespan.health()` said before the exit.
    """

    err: str
    took_s: float
    exit_s: float
    told: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        """What pipespan said."""
        return [line for line in self.err.splitlines() if line.startswith("pipespan:")]


class Job:
    """The job as a process that a test leads through its halves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, word: str) -> Job:
        """Wait until the job has come to `word`."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if said != word:
            _, err = self.process.communicate(timeout=20)
            raise AssertionError(f"{said!r} instead of {word!r}: {err}")
        return self

    def go_on(self) -> Job:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def end(self, within_s: float = 60.0) -> Ended:
        """Let it go on to its end; check that exit status and output are what they are without any fault."""
        since = time.monotonic()
        out, err = self.process.communicate("\n", timeout=within_s)
        exit_s = time.monotonic() - since
        assert self.process.returncode == CODE, err
        assert "Traceback" not in err, err
        told = json.loads(out)
        return Ended(err, told.pop("took_s"), exit_s, told)


def start_job(programs: Programs, **environ: str) -> Job:
    """Start the job and return it when it has done its first half."""
    given = {"PIPESPAN_EXIT_TIMEOUT_S": str(EXIT_S), **programs.environ, **environ}
    return Job(programs.start(JOB, HALF, CODE, **given)).until("half")


def through(programs: Programs, fault: Callable[[], object], **environ: str) -> Ended:
    """Run the job with `fault` made in its midst, and return how it ended."""
    job = start_job(programs, **environ)
    fault()
    return job.go_on().until("whole").end()


def deliver(programs: Programs, within_s: float = 30.0) -> int:
    """Deliver what was left, and return how many rows that were; nothing may be left then."""
    report = ship(programs.settings(), within_s)
    assert (report.waiting_streams, report.rejected) == (0, 0)
    deadline = time.monotonic() + within_s
    while find_streams(programs.state_dir / "spool"):
        # The watcher may be at it already.
        assert programs.environ.get("PIPESPAN_WATCHER") == "1"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return report.rows


def audit(dsn: str, *, lost_lines: int = 0) -> Seen:
    """Check the tables against what the job did: each line once, each unit, each status.

    Args:
        dsn: of the database.
        lost_lines: so many lines may be missing; none may be there twice in any case.
    """
    source = PostgresSource(dsn)
    try:
        seen = Seen(source)
        said = Counter(message for message in seen.messages() if message.startswith("line "))
        assert not {text: count for text, count in said.items() if count != 1}
        missing = {f"line {number}" for number in range(2 * HALF)} - set(said)
        assert len(missing) <= lost_lines, sorted(missing)
        wanted = {f"run/part {number}" for number in range(0, 2 * HALF, 10)} | {"run", "run/s"}
        assert seen.statuses() == dict.fromkeys(wanted, "completed")
        assert seen.nodes["run/s"].completed_units == 2 * HALF
        assert [job.status for job in source.jobs(seen.id)] == ["completed"]
        assert seen.experiments[0].status == "completed"
        seen.check_sums()
        return seen
    finally:
        source.close()


def count(dsn: str, query: str) -> int:
    """Return the one number that a query gives."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload] # a literal of the tests
    assert row is not None
    return int(row[0])


def alarms(dsn: str) -> Counter[str]:
    """Return how many alarms of which kind there are."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "select details->>'alarm' from pipeline_events where event_type = 'alarm'"
        ).fetchall()
    return Counter(kind for (kind,) in rows)


@cache
def can_mount() -> bool:
    """Tell whether a test may mount: root in a container often may not."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory(prefix="pspan-", dir="/tmp") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)
    return done.returncode == 0


def can_mount_files() -> bool:
    """Tell whether a file can be mounted as a file system of its own."""
    return can_mount() and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


def fill(folder: Path) -> Path:
    """Fill the file system of `folder` to its last byte; return the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler
