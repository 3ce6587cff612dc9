"""`pipespan status` with many processes."""

from __future__ import annotations

from tests.cli.runner import Cli
from tests.query.test_workers import ranks


def test_the_command_names_them(cli: Cli) -> None:
    """`status` has a line for who is behind; `--workers` has one for each process, `--json` both."""
    source = ranks(62, 60, 20, 64)
    assert "behind: rank 2, process 102 on gpu-2: 20% done, the others 61%" in cli(source, "status").out
    lines = cli(source, "status", "--workers").lines
    assert lines[0].split() == ["RANK", "HOST", "PID", "HEALTH", "DONE", "NODES", "NOW"]
    assert lines[3].split()[:6] == ["2/4", "gpu-2", "102", "alive", "20%", "behind"]
    (document,) = cli(source, "status", "--json").documents
    assert [one["rank"] for one in document["workers"]] == [0, 1, 2, 3, None]
    assert "more; see" in cli(ranks(*[90.0] * 20, *[10.0] * 5), "status").out
