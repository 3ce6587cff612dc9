"""Calls the command line in this process with a store of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from pipespan.cli.app import main
from pipespan.cli.options import Invocation
from tests.query.samples import NOW, ListSource, ago, experiment, job, log, node, parent, version_at


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass
class Cli:
    """`cli(source, "status", "last")` gives exit code and output."""

    capsys: pytest.CaptureFixture[str]
    sleep: Callable[[float], None] = lambda _seconds: None
    clock_s: float = 0.0
    now: Callable[[], datetime] = field(default=lambda: NOW)

    def __call__(self, source: ListSource, *args: str, **changes: Any) -> Result:
        values: dict[str, Any] = {"now": self.now, "sleep": self._sleep, "clock": lambda: self.clock_s}
        values.update(changes)
        code = main(args, Invocation(source=source, **values))
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def _sleep(self, seconds: float) -> None:
        self.clock_s += seconds
        self.sleep(seconds)


def sample_source() -> ListSource:
    """Return a run in the middle: one phase done, one running, one failed, one to come."""
    return ListSource(
        [experiment(error_count=3)],
        [job()],
        [
            parent("train", 40.0, start_time=ago(600)),
            node("train/load", status="completed", completed_units=10, total_units=10, unit="files"),
            node(
                "train/fit", completed_units=25, total_units=100, unit="batches", version=version_at(ago(1))
            ),
            node("train/check", status="failed", error_type="ValueError", message="no such column 'x'"),
            node("train/report", status="pending"),
        ],
        [
            log(1),
            log(
                2,
                "cannot parse 'a.py'",
                "ERROR",
                error_type="SyntaxError",
                traceback="Traceback\nSyntaxError: bad",
            ),
            log(3, "cannot parse 'a.py'", "ERROR", error_type="SyntaxError"),
            log(4, "disk full", "CRITICAL", node_id="train/fit"),
        ],
    )
