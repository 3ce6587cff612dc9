"""User programs that run in a process of their own, and what they left."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pipespan
from pipespan.config import Settings, load_settings
from pipespan.model.records import LogRecord, NodeRecord
from pipespan.spool.delivery import Tally
from pipespan.spool.notices import Notices
from pipespan.spool.orphans import find_streams
from pipespan.spool.shipping import deliver_orphans
from pipespan.store.base import LogFilter, Source
from pipespan.store.memory import MemoryStore
from pipespan.wiring.ship import shipper_config

PRELUDE = "import os, sys, time, logging, multiprocessing, threading, signal\nimport pipespan\n"
PRELUDE += "logging.getLogger().addHandler(logging.NullHandler())  # else warnings fill the pipe of stderr\n"


@dataclass
class Programs:
    """Runs programs with a state folder of the test's own; without a DSN their rows stay in the spool."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def settings(self, **overrides: Any) -> Settings:
        return load_settings(
            {}, self.folder, state_dir=self.state_dir, dsn=self.environ.get("PIPESPAN_DSN"), **overrides
        )

    def start(self, source: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        script = self.folder / f"program{len(self.started)}.py"
        script.write_text(PRELUDE + textwrap.dedent(source))
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))
        }
        without_database = {} if "PIPESPAN_DSN" in self.environ else {"PIPESPAN_STORE": "none"}
        child = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={
                **inherited, "PYTHONPATH": str(Path(pipespan.__file__).parents[1]), "PIPESPAN_WATCHER": "0",
                "PIPESPAN_STATE_DIR": str(self.state_dir), "PIPESPAN_EXIT_TIMEOUT_S": "20", **without_database,
                **self.environ, **environ,
            },
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.started.append(child)
        return child

    def using(self, **environ: str) -> Programs:
        """Set variables for all programs that start from now on."""
        self.environ.update(environ)
        return self

    def run(
        self, source: str, *arguments: object, code: int = 0, timeout_s: float = 40, **environ: str
    ) -> Ran:
        before = time.monotonic()
        child = self.start(source, *arguments, **environ)
        out, err = child.communicate(timeout=timeout_s)
        assert child.returncode == code, err
        return Ran(out, err, time.monotonic() - before)

    def command(self, *arguments: str, **environ: str) -> str:
        """Run a command of `pipespan` and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "pipespan", *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(pipespan.__file__).parents[1]), **environ},
            cwd=self.folder, capture_output=True, text=True, timeout=40, check=True,
        )  # fmt: skip
        return done.stdout

    def end(self) -> None:
        for child in self.started:
            child.kill()
            if not (child.stdout is None or child.stdout.closed):
                child.communicate()

    def delivered(self) -> Seen:
        """Deliver what the programs left into a store in memory, and check that nothing is left."""
        store, config = MemoryStore(), shipper_config(self.settings())
        for spool_dir in config.spool_dirs:
            deliver_orphans(
                spool_dir, config, lambda: store, Notices(), own_ids=(), tally=Tally(), may_go_on=lambda: True
            )  # fmt: skip
        assert find_streams(self.state_dir / "spool") == []
        return Seen(store)


@dataclass
class Ran:
    """How a program ended."""

    out: str
    err: str
    seconds: float


class Seen:
    """What a store says of its newest experiment."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.lines: list[LogRecord] = []
        self.said: list[str] = []
        self.experiments = source.experiments(limit=100)
        self.id = self.experiments[0].id if self.experiments else ""
        self.nodes: dict[str, NodeRecord] = (
            {node.node_id: node for node in source.nodes(self.id)} if self.id else {}
        )

    def statuses(self) -> dict[str, str]:
        return {node_id: node.status for node_id, node in self.nodes.items()}

    def logs(self) -> list[LogRecord]:
        return self.source.logs(self.id, LogFilter(limit=1_000_000))

    def messages(self) -> list[str]:
        return [record.message for record in self.logs()]

    def check_sums(self) -> None:
        """Check that each parent's sums are exactly those of its children."""
        for parent in self.nodes.values():
            children = [node for node in self.nodes.values() if node.parent_id == parent.node_id]
            ended = {"completed", "failed", "cancelled"}
            weights = [round(node.weight * 1000) for node in children]
            settled = [
                10**9 if node.status in ended else round(float(node.progress_percent) * 10**7)
                for node in children
            ]
            assert int(parent.child_weight) == sum(weights), parent.node_id
            assert int(parent.child_sum) == sum(w * s for w, s in zip(weights, settled, strict=True)), (
                parent.node_id
            )
