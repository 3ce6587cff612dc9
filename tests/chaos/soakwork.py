"""What a process of the soak does: records at random, and keeps a journal of what it knows that it recorded.

`python -m tests.chaos.soakwork JOURNAL SEED SECONDS`. A line of the journal is written by one `write` to a file that is
only appended to, before and after each call, so that no kill can come between a call and both of its lines unseen.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipespan


class Journal:
    """Notes what a process is about to do, and that it has done it.

    Args:
        path: of the file; a forked child goes on in one of its own.
        experiment_id: whose record it is about.
    """

    def __init__(self, path: Path, experiment_id: str, *, is_child: bool) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.tag = uuid.uuid4().hex[:10]
        self._write({"tag": self.tag, "experiment": experiment_id, "child": is_child, "pid": os.getpid()})

    def around(self, what: str, name: str, call: Callable[[], Any]) -> Any:
        """Make a call, with a line before it and one behind it."""
        self.note("before", what, name)
        found = call()
        self.note("after", what, name)
        return found

    def note(self, when: str, what: str, name: str) -> None:
        """Write a line."""
        self._write({"when": when, "what": what, "name": name})

    def sync(self) -> None:
        """Put what was written on the disk itself."""
        os.fsync(self._fd)

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")


class Broken(Exception):
    """How some runs end."""


class Worker:
    """Records at random under one node."""

    def __init__(self, journal: Journal, rng: random.Random, node: Any, until_s: float) -> None:
        self._journal = journal
        self._rng = rng
        self._node = node
        self._until_s = until_s
        self._count = 0

    def work(self) -> None:
        """Go on until it is time."""
        log = logging.getLogger("soak")
        while time.monotonic() < self._until_s:
            name = f"{self._journal.tag}-{self._count}"
            self._count += 1
            dice = self._rng.random()
            if dice < 0.7:
                level = self._rng.choice([logging.INFO, logging.WARNING, logging.ERROR])
                self._journal.around("log", name, lambda: log.log(level, "soak %s", name))  # noqa: B023 - called at once
            elif dice < 0.8:
                self._journal.around("event", name, lambda: self._node.event(f"soak {name}"))  # noqa: B023
            else:
                self._step(name)
            if self._count % 50 == 0:
                self._journal.sync()
            time.sleep(self._rng.random() * 0.006)

    def _step(self, name: str) -> None:
        """Open a step and end it, well or not."""
        is_bad = self._rng.random() < 0.1
        self._journal.note("before", "open", name)
        try:
            with self._node.step(name, total=3) as step:
                self._journal.note("after", "open", name)
                step.progress(3)
                self._journal.note("before", "failed" if is_bad else "completed", name)
                if is_bad:
                    raise Broken
        except Broken:
            pass
        self._journal.note("after", "failed" if is_bad else "completed", name)


@contextmanager
def _children(path: Path, seed: int, node: Any, until_s: float, count: int) -> Iterator[None]:
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                journal = Journal(path.with_suffix(f".{number}.journal"), node.experiment_id, is_child=True)
                Worker(journal, random.Random(seed + number + 1), node, until_s).work()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    yield
    for pid in pids:
        os.waitpid(pid, 0)


def main(path: Path, seed: int, seconds: float) -> None:
    """Run one pipeline, and end as the seed will have it."""
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.INFO)
    rng = random.Random(seed)
    experiment_id = str(uuid.uuid4())
    journal = Journal(path, experiment_id, is_child=False)
    end = "failed" if rng.random() < 0.2 else "completed"
    until_s = time.monotonic() + seconds
    journal.note("before", "open", "run")
    with pipespan.pipeline("soak", experiment_id=experiment_id) as run:
        journal.note("after", "open", "run")
        with _children(path, seed, run, until_s, rng.choice([0, 0, 1, 2])):
            Worker(journal, rng, run, until_s).work()
        journal.note("before", end, "run")
        if end == "failed":
            sys.excepthook = lambda *_: None
            raise Broken
    journal.note("after", end, "run")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
