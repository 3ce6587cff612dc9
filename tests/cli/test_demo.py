"""`pipespan demo`: a real pipeline, end to end, and the figures that it reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row

from pipespan.cli.app import main
from pipespan.cli.demo.live import start_what_ships
from pipespan.cli.demo.measures import strong_components
from pipespan.cli.demo.pipeline import CHUNK_BYTES, MIN_CHUNK_BYTES, chunks_of
from pipespan.cli.demo.sources import Root, Source, look_at, parse_source, walk_sources
from pipespan.cli.options import Invocation
from pipespan.cli.services import WiredServices
from pipespan.config import load_settings
from pipespan.errors import StoreError

SRC = Path(__file__).parents[2] / "src"


def environment(dsn: str, tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))}
    given = {"PYTHONPATH": str(SRC), "PIPESPAN_STATE_DIR": str(tmp_path / "state"), "PIPESPAN_DSN": dsn}
    return {**kept, "PIPESPAN_WATCHER": "0", "PIPESPAN_EXIT_TIMEOUT_S": "20", **given, **more}


def demo(*args: str) -> list[str]:
    return [sys.executable, "-m", "pipespan", "demo", *args]


@pytest.fixture
def rows(dsn):
    """Read rows of the test's database."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield lambda query: connection.execute(query).fetchall()


def run_demo(dsn, tmp_path, rows, seconds):
    """Run the demo to its end; return what it printed and the id of its experiment."""
    started = time.monotonic()
    done = subprocess.run(
        demo("--seconds", str(seconds), "--workers", "2", "--out", str(tmp_path / "report")),
        env=environment(dsn, tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < seconds + 20
    (newest,) = rows("select id from experiments order by started_at desc limit 1")
    return done.stdout, newest["id"]


def test_the_demo_runs_end_to_end(dsn, tmp_path, rows):
    """All phases are in the database, from several processes, and the report is on disk; the time is kept."""
    printed, experiment_id = run_demo(dsn, tmp_path, rows, 5)
    parsed = f"select completed_units as units from pipeline_progress where experiment_id = '{experiment_id}'"
    if not rows(f"{parsed} and node_id = 'demo/parse'")[0]["units"]:
        # On a busy machine the time was up when the files were found.
        printed, experiment_id = run_demo(dsn, tmp_path, rows, 25)

    def of(table, more=""):
        return rows(f"select * from {table} where experiment_id = '{experiment_id}' {more}")

    (experiment,) = rows(f"select * from experiments where id = '{experiment_id}'")
    assert (experiment["name"], experiment["status"]) == ("demo", "completed")
    phases = of("pipeline_progress", "and node_level = 'phase' order by start_time")
    assert [phase["node_name"] for phase in phases] == ["discover", "parse", "measure", "report"]
    assert {row["status"] for row in of("pipeline_progress")} == {"completed"}
    assert phases[0]["completed_units"] > 500
    assert phases[1]["completed_units"] <= phases[1]["total_units"]
    assert len(of("processing_jobs", "and status = 'completed'")) >= 2
    out = tmp_path / "report"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["files"] > 0
    assert report["functions"] > 0
    skipped = phases[1]["total_units"] - phases[1]["completed_units"]
    assert report["skipped"].get("parse", 0) == skipped
    assert experiment["error_count"] == len(report["unparsable"])
    artifacts = of("pipeline_events", "and event_type = 'artifact' order by id")
    assert [Path(row["details"]["location"]).name for row in artifacts] == ["report.md", "report.json"]
    assert str(out / "report.md") in printed
    assert f"{experiment['error_count']} errors recorded" in printed
    assert f"pipespan status {str(experiment['id'])[:8]}" in printed


def test_ctrl_c_cancels_the_pipeline(dsn, tmp_path, rows):
    """The interrupt is passed on; the experiment ends as cancelled, and nothing is left running."""
    out = tmp_path / "report"
    with subprocess.Popen(
        demo("--seconds", "40", "--workers", "1", "--out", str(out)), env=environment(dsn, tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 20
        while not rows("select 1 from pipeline_progress where node_level = 'phase'"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output.decode()
    assert [row["status"] for row in rows("select status from experiments")] == ["cancelled"]
    assert "running" not in {row["status"] for row in rows("select status from pipeline_progress")}


def test_ctrl_c_ends_the_workers_in_order(dsn, tmp_path, rows):
    """One line says so instead of a traceback, and the last tree shows nothing that still runs."""
    with subprocess.Popen(
        demo("--seconds", "40", "--workers", "2", "--out", str(tmp_path / "report")),
        env=environment(dsn, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 40
        while not rows("select 1 from pipeline_progress where node_name like 'chunk%'"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "KeyboardInterrupt" not in output
    assert output.count("cancelled by Ctrl-C\n") == 1
    last_tree = output[output.rindex("discover") :]
    assert "chunk" in last_tree
    assert "●" not in last_tree
    chunks = [
        row["status"] for row in rows("select status from pipeline_progress where node_name like 'chunk%'")
    ]
    assert "cancelled" in chunks, output
    assert set(chunks) <= {"completed", "cancelled"}
    assert (
        rows("select 1 from pipeline_logs where level in ('ERROR', 'CRITICAL') and error_type like 'Keyb%'")
        == []
    )


def test_without_a_database_the_pipeline_runs_to_its_end(tmp_path):
    """One clear line, the report is written, the rows wait in the spool."""
    dsn = "postgresql://localhost:1/none?connect_timeout=1"
    out = tmp_path / "report"
    done = subprocess.run(
        demo("--seconds", "2", "--workers", "1", "--out", str(out)),
        env=environment(dsn, tmp_path, PIPESPAN_EXIT_TIMEOUT_S="0.5"), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "no live view" in done.stderr
    assert (out / "report.md").exists()
    assert "pipespan ship" in done.stdout
    assert any((tmp_path / "state" / "spool").rglob("*.seg"))


def test_disabled_the_same_work_is_done(tmp_path):
    """With PIPESPAN_DISABLED=1 nothing is recorded and the report is the same."""
    out = tmp_path / "report"
    done = subprocess.run(
        demo("--seconds", "2", "--workers", "1", "--out", str(out)),
        env=environment("", tmp_path, PIPESPAN_DISABLED="1"), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "files do not parse" in done.stdout
    assert "next" not in done.stdout
    assert not (tmp_path / "state" / "spool").exists()


class Starting(WiredServices):
    """Keeps which watchers were to be started."""

    def __init__(self):
        self.started = []

    def start_watcher(self, settings):
        self.started.append(settings)


@pytest.mark.parametrize("is_disabled", [False, True])
def test_what_ships_is_started_beside_the_pipeline(tmp_path, is_disabled):
    """Not by the pipeline, when its workers need the time; and not at all where nothing is recorded."""
    services = Starting()
    settings = load_settings({"PIPESPAN_DISABLED": str(int(is_disabled))}, tmp_path)
    start_what_ships(Invocation(services=services), settings)
    assert services.started == ([] if is_disabled else [settings])


def test_the_command_starts_what_ships(tmp_path, capsys, monkeypatch):
    """It is no matter of the pipeline, which ends when the command fails."""
    monkeypatch.setenv("PIPESPAN_STORE", "none")

    class Failing(WiredServices):
        def start_watcher(self, settings):
            raise StoreError("this is where it is started")

    options = [
        "--state-dir",
        str(tmp_path / "state"),
        "demo",
        "--seconds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(options, Invocation(services=Failing())) == 1
    assert capsys.readouterr().err == "pipespan: this is where it is started\n"


@pytest.fixture
def tree(tmp_path):
    """A small root of sources."""
    package = tmp_path / "root" / "pack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import one\n")
    (package / "one.py").write_text(
        "import os.path, sys\nfrom .two import x\nfrom ..up import y\n\n"
        "class A:\n  async def f(self):\n    if a and b or c:\n      for i in j: pass\n"
        "    def g(): return [k for k in l if k]\n\nz = 1 if 2 else 3\n"
    )
    (package / "latin.py").write_bytes("# coding: latin-1\nname = 'é'\n".encode("latin-1"))
    (package / "broken.py").write_text("def f(:\n")
    (tmp_path / "root" / "site-packages").mkdir()
    (tmp_path / "root" / "site-packages" / "other.py").write_text("")
    return Root("root", tmp_path / "root")


def test_sources_are_found_and_looked_at(tree):
    """Files in stable order, without installed packages; with encoding, module and package."""
    found = [look_at(path, tree) for path in walk_sources(tree)]
    assert [Path(source.path).name for source in found] == ["__init__.py", "broken.py", "latin.py", "one.py"]
    assert [source.module for source in found] == ["pack", "pack.broken", "pack.latin", "pack.one"]
    assert {source.package for source in found} == {"pack"}
    assert [source.encoding for source in found] == ["utf-8", "utf-8", "iso-8859-1", "utf-8"]


def test_functions_complexity_and_imports_are_measured(tree):
    """Complexity counts branches, each function for itself; relative imports become absolute."""
    (path,) = (path for path in walk_sources(tree) if path.endswith("one.py"))
    module = parse_source(look_at(path, tree))
    assert {(one.name, one.complexity) for one in module.worst} == {("A.f", 5), ("A.f.g", 3)}
    assert module.imports == ("os.path", "pack.two.x", "sys", "up.y")
    assert module.lines == 11


def test_a_file_that_does_not_parse_raises(tree):
    """The pipeline logs it with its traceback."""
    (path,) = (path for path in walk_sources(tree) if path.endswith("broken.py"))
    with pytest.raises(SyntaxError):
        parse_source(look_at(path, tree))


@given(st.lists(st.integers(0, 4_000_000), max_size=60), st.integers(1, 16))
def test_chunks_become_smaller_towards_the_end(sizes, parts):
    """All sources in their order; each a part of what is left, neither more nor less than what is worth a process."""
    sources = [Source(str(number), "p", "m", size, "utf-8") for number, size in enumerate(sizes)]
    chunks = list(chunks_of(sources, parts))
    assert [one for chunk in chunks for one in chunk] == sources
    left = sum(sizes)
    for chunk in chunks:
        bound = min(max(left / parts, MIN_CHUNK_BYTES), CHUNK_BYTES)
        size = sum(one.size_bytes for one in chunk)
        assert size - chunk[-1].size_bytes < bound
        assert size >= bound or chunk is chunks[-1]
        left -= size


EDGES = st.dictionaries(st.integers(0, 7).map(str), st.sets(st.integers(0, 7).map(str)), max_size=8)


@given(EDGES)
def test_strong_components_are_the_sets_that_reach_each_other(edges):
    """Against the definition, by plain reachability."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen, todo = {start}, [start]
        while todo:
            for target in edges.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        reach[start] = seen
    found = {frozenset(component) for component in strong_components(edges)}
    for node in edges:
        expected = {other for other in reach[node] if node == other or node in reach.get(other, set())}
        assert frozenset(expected) in found
