"""The commands over the same questions: history, metrics, resources, export, import."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipespan import Client
from pipespan.cli.app import main


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class Command:
    capsys: pytest.CaptureFixture[str]
    state_dir: Path

    def __call__(self, dsn: str, *args: str) -> Result:
        code = main([*args, "--dsn", dsn, "--state-dir", str(self.state_dir)])
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Command(capsys, tmp_path / "state")


def test_history(command: Command, recorded_dsn: str, client: Client) -> None:
    """A line for each run of each phase within 80 columns; by name of the pipeline, or of the newest."""
    shown = command(recorded_dsn, "history")
    assert (shown.code, shown.err) == (0, "")
    assert shown.lines[0].split()[:4] == ["phase", "started", "status", "took"]
    assert len(shown.lines) == 1 + 6
    assert all(len(line) <= 80 for line in shown.lines)
    only = command(recorded_dsn, "history", "nightly", "--phase", "fit", "--limit", "1")
    assert len(only.lines) == 2
    assert only.lines[1].split()[0] == "nightly/fit"
    assert client.experiment().id[:8] in only.lines[1]
    (run, *_) = (json.loads(line) for line in command(recorded_dsn, "history", "nightly", "--json").lines)
    assert {"duration_s", "peak_memory_mb", "throughput_per_s", "error_count"} <= set(run)
    assert command(recorded_dsn, "history", "nightly", "--phase", "none").out == "no runs of such a phase\n"


def test_trends(command: Command, recorded_dsn: str) -> None:
    """With --trends one line for each measure of each phase."""
    shown = command(recorded_dsn, "history", "--trends", "--phase", "fit")
    assert [line.split()[1] for line in shown.lines] == [
        "measure", "duration_s", "peak_memory_mb", "cpu_s", "errors",
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in shown.lines)
    documents = [json.loads(line) for line in command(recorded_dsn, "history", "--trends", "--json").lines]
    assert {one["measure"] for one in documents} == {"duration_s", "peak_memory_mb", "cpu_s", "errors"}


def test_an_unknown_pipeline(command: Command, recorded_dsn: str, dsn: str) -> None:
    """One line that names what may be meant, and exit code 2; an empty database says that it is."""
    typo = command(recorded_dsn, "history", "nightli")
    assert (typo.code, typo.out) == (2, "")
    assert "did you mean 'nightly'?" in typo.err
    empty = command(dsn, "history")
    assert empty.code == 2
    assert "no experiments yet" in empty.err


def test_metrics(command: Command, recorded_dsn: str) -> None:
    """A line for each measure of each node; by node and by measure; rows with --json."""
    shown = command(recorded_dsn, "metrics", "last", "--type", "loss")
    assert [line.split() for line in shown.lines[1:]] == [
        ["nightly/fit/epoch", "0", "loss", "1", "1", "1", "1", "1"],
        ["nightly/fit/epoch", "1", "loss", "1", "0.5", "0.5", "0.5", "0.5"],
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in command(recorded_dsn, "metrics").lines)
    rows = [
        json.loads(line)
        for line in command(
            recorded_dsn, "metrics", "--json", "--node", "nightly/fit", "--type", "note"
        ).lines
    ]
    assert [one["custom_metrics"]["loss"] for one in rows] == [1, 0.5]
    assert command(recorded_dsn, "metrics", "--node", "no%").out == "no metrics\n"


def test_resources(command: Command, recorded_dsn: str) -> None:
    """At most so many lines, within 80 columns, with memory."""
    shown = command(recorded_dsn, "resources", "--points", "3")
    assert 2 <= len(shown.lines) <= 4
    assert shown.lines[0].split()[:2] == ["from", "memory"]
    assert all(len(line) <= 80 for line in shown.lines)
    points = [
        json.loads(line) for line in command(recorded_dsn, "resources", "--points", "3", "--json").lines
    ]
    assert max(one["memory_mb"] or 0 for one in points) > 1
    assert command(recorded_dsn, "resources", "--points", "0").code == 2
    assert command(recorded_dsn, "resources", "--node", "no%").out == "no samples\n"


def test_export_and_import(
    command: Command, recorded_dsn: str, dsn: str, client: Client, tmp_path: Path
) -> None:
    """A file goes from one database into another; a second time nothing changes; a pipe does as well."""
    file = tmp_path / "run.json"
    assert command(recorded_dsn, "export", "last", "-o", str(file)) == Result(0, "", "")
    assert json.loads(file.read_text()) == client.export()
    assert os.listdir(tmp_path) == ["run.json"]
    brought = command(dsn, "import", str(file))
    assert (brought.code, brought.err) == (0, "")
    assert brought.out.startswith(f"imported nightly ({client.experiment().id}) with 1 job, ")
    again = command(dsn, "import", str(file))
    assert again.out == f"nightly ({client.experiment().id}) is there already; nothing changed\n"
    report = json.loads(command(dsn, "import", str(file), "--json").out)
    assert (report["is_new"], report["rows"]["jobs"]) == (False, 1)
    assert command(recorded_dsn, "export").out == command(dsn, "export").out == file.read_text()


def test_import_from_standard_input(
    command: Command, dsn: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` is standard input."""
    text = json.dumps(client.export())
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert command(dsn, "import", "-").code == 0
    with Client(dsn) as target:
        assert target.export() == json.loads(text)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, NaN]", b"\xff\xfe", b"[" * 100_000, b"9" * 100_000, b"{}"]
)
def test_a_bad_file(content: bytes, command: Command, recorded_dsn: str, tmp_path: Path) -> None:
    """One line that says what is wrong, and exit code 1."""
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    refused = command(recorded_dsn, "import", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert len(refused.err.splitlines()) == 1
    assert len(refused.err) < 500


def test_export_to_a_place_that_is_none(command: Command, recorded_dsn: str, tmp_path: Path) -> None:
    """One line and exit code 2; an unknown experiment leaves no file."""
    refused = command(recorded_dsn, "export", "last", "-o", str(tmp_path / "no" / "run.json"))
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    unknown = command(recorded_dsn, "export", "nobody", "-o", str(tmp_path / "run.json"))
    assert unknown.code == 2
    assert os.listdir(tmp_path) == []
