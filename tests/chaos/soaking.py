"""A long run of many processes with kills, outages and load, and the tables held against what each process knows."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipespan.config import load_settings
from pipespan.errors import StoreError
from pipespan.spool.orphans import find_streams
from pipespan.wiring.ship import ship
from tests.chaos.patients import watchers_of
from tests.chaos.soakaudit import Known, Verdict, audit
from tests.wiring.server import Server

ROOT = Path(__file__).resolve().parents[2]

SETTLE_S = 90.0
"""After the last process has ended, all of it is delivered and certified within this time."""


@dataclass
class Soak:
    """One run.

    Args:
        folder: for state, journals and the server.
        seconds: how long new processes are started.
        seed: of all that is random here.
        workers: how many processes run at a time.
    """

    folder: Path
    seconds: float
    seed: int
    workers: int
    done: Counter[str] = field(default_factory=Counter)
    killed: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.server = Server(Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp")))
        self.state_dir = self.folder / "state"
        self._over = threading.Event()

    def run(self) -> Verdict:
        """Do it all, and return what the audit found."""
        self.server.start()
        try:
            self.server.migrate()
            outages = threading.Thread(target=self._outages, name="outages")
            outages.start()
            crew = [
                threading.Thread(target=self._keep_working, args=(number,)) for number in range(self.workers)
            ]
            for one in crew:
                one.start()
            for one in crew:
                one.join()
            self._over.set()
            outages.join()
            self._settle()
            return audit(self.server.dsn(), self._journals())
        finally:
            self._over.set()
            for pid in watchers_of(self.state_dir):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.server.thaw()
            self.server.kill()
            shutil.rmtree(self.server.folder, ignore_errors=True)

    def _outages(self) -> None:
        rng = random.Random(self.seed)
        while not self._over.wait(1 + rng.random() * 3):
            kind = rng.choice(["killed", "frozen", "connections cut"])
            self.done[f"database {kind}"] += 1
            if kind == "killed":
                self.server.kill()
                self._over.wait(rng.random() * 3)
                self.server.start()
            elif kind == "frozen":
                self.server.freeze()
                self._over.wait(rng.random() * 4)
                self.server.thaw()
            else:
                with suppress(Exception):
                    self.server.cut("tests")

    def _keep_working(self, number: int) -> None:
        rng = random.Random(self.seed * 1000 + number)
        until_s = time.monotonic() + self.seconds
        turn = 0
        while time.monotonic() < until_s:
            journal = self.folder / f"{number:02d}-{turn:05d}.journal"
            self._one(journal, rng)
            turn += 1

    def _one(self, journal: Path, rng: random.Random) -> None:
        seconds = 1 + rng.random() * 4
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.soakwork", journal, str(rng.randrange(1 << 30)), str(seconds)],
            cwd=self.folder, env=self._environment(rng), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        dice, number = rng.random(), None
        if dice < 0.4:
            number = signal.SIGKILL if dice < 0.3 else signal.SIGTERM
        try:
            _, err = child.communicate(timeout=None if number is None else 0.3 + rng.random() * seconds * 1.2)
        except subprocess.TimeoutExpired:
            assert number is not None
            child.send_signal(number)
            _, err = child.communicate()
        if child.returncode < 0:
            self.killed.add(journal)
        self.done[f"process ended with {child.returncode}"] += 1
        if "Traceback" in err or child.returncode not in (0, 1, -signal.SIGKILL, -signal.SIGTERM):
            print(err, file=sys.stderr)

    def _environment(self, rng: random.Random) -> dict[str, str]:
        clean = {
            name: text for name, text in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))
        }
        return {
            **clean,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
            "PIPESPAN_STATE_DIR": str(self.state_dir),
            "PIPESPAN_DSN": self.server.dsn(),
            "PIPESPAN_EXIT_TIMEOUT_S": rng.choice(["0.05", "2"]),
            "PIPESPAN_FLUSH_INTERVAL_S": rng.choice(["0.01", "0.2"]),
            "PIPESPAN_BATCH_BYTES": rng.choice(["2000", "4000000"]),
            "PIPESPAN_SEGMENT_BYTES": rng.choice(["20000", "8000000"]),
        }

    def _settle(self) -> None:
        """Deliver what was left, until nobody is owed anything; children of killed processes may still be at work."""
        settings = load_settings({}, self.folder, state_dir=self.state_dir, dsn=self.server.dsn())
        deadline = time.monotonic() + SETTLE_S
        while find_streams(settings.spool_dir()) and time.monotonic() < deadline:
            with suppress(StoreError):
                ship(settings, 20)
            time.sleep(0.2)
        self.done["streams left over"] = len(find_streams(settings.spool_dir()))

    def _journals(self) -> list[Known]:
        found = [
            Known.read(path, is_killed=path in self.killed) for path in sorted(self.folder.glob("*.journal"))
        ]
        return [known for known in found if known is not None]


def report(soak: Soak, verdict: Verdict) -> str:
    """Return what happened and what was found, as a table."""
    lines = [f"{count:8,}  {what}" for what, count in sorted(soak.done.items())]
    lines += [f"{count:8,}  {what} (known to be done)" for what, count in sorted(verdict.calls.items())]
    for what, found in (("lost", verdict.lost), ("twice", verdict.twice), ("wrong status", verdict.wrong)):
        lines.append(f"{len(found):8,}  {what}")
        lines += [f"          {one}" for one in found[:20]]
    return "\n".join(lines)


def soak_for(folder: Path, seconds: float, seed: int, workers: int) -> tuple[Verdict, str]:
    """Soak, and return the verdict with the table."""
    soak = Soak(folder, seconds, seed, workers)
    verdict = soak.run()
    return verdict, report(soak, verdict)
