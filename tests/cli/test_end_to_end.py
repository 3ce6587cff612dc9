"""The command line as a program of its own, over a real Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, node

NOW_NS = time.time_ns()
SECOND_NS = 1_000_000_000


@pytest.fixture
def shipper(dsn: str) -> Iterator[Shipper]:
    sink = PostgresSink(dsn)
    yield Shipper(sink)
    sink.close()


@pytest.fixture
def environment(dsn: str, tmp_path: Path) -> dict[str, str]:
    unwanted = ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR")
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    given = {"PIPESPAN_DSN": dsn, "PIPESPAN_STATE_DIR": str(tmp_path), "PIPESPAN_EXIT_TIMEOUT_S": "20"}
    return {**kept, **given, "COLUMNS": "80"}


def pipespan(environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipespan", *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)


@contextmanager
def following(environment: dict[str, str], *args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pipespan", *args]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def start(shipper: Shipper) -> None:
    shipper.ship(
        experiment(started_at=NOW_NS, version=NOW_NS),
        job("99999999-2222-4333-8444-555555555555", heartbeat_at=NOW_NS, progress_at=NOW_NS, version=NOW_NS),
        node("train", start_time=NOW_NS, version=NOW_NS),
        node("train/load", "train", total_units=4, completed_units=1, unit="files", start_time=NOW_NS, version=NOW_NS),
        log("first", timestamp=NOW_NS, node_id="train/load"),
        log("cannot read", timestamp=NOW_NS + 1, level="ERROR", severity_number=17, node_id="train/load",
            error_type="OSError", traceback="Traceback\nOSError: cannot read"),
    )  # fmt: skip


def end(shipper: Shipper) -> None:
    at = time.time_ns()
    shipper.ship(
        node(
            "train/load",
            "train",
            status="completed",
            total_units=4,
            completed_units=4,
            end_time=at,
            version=at,
        ),
        node("train", status="completed", end_time=at, version=at),
        experiment(status="completed", started_at=NOW_NS, ended_at=at, version=at),
    )


def test_reading_commands(shipper: Shipper, environment: dict[str, str]) -> None:
    """What was shipped is listed, shown, logged and grouped, in both forms."""
    start(shipper)
    shown = pipespan(environment, "status", "last")
    assert shown.returncode == 0, shown.stderr
    assert "25%" in shown.stdout
    assert "1/4 files" in shown.stdout
    document = json.loads(pipespan(environment, "status", "train", "--json").stdout)
    assert document["experiment"]["id"] == EXPERIMENT_ID
    assert [one["progress_percent"] for one in document["nodes"]] == [25, 25]
    assert document["experiment"]["error_count"] == 1
    (listed,) = map(json.loads, pipespan(environment, "list", "--json").stdout.splitlines())
    assert listed["name"] == "train"
    logs = [
        json.loads(line)
        for line in pipespan(environment, "logs", EXPERIMENT_ID[:8], "--json").stdout.splitlines()
    ]
    assert [one["message"] for one in logs] == ["first", "cannot read"]
    (group,) = map(json.loads, pipespan(environment, "errors", "--json").stdout.splitlines())
    assert (group["error_type"], group["count"]) == ("OSError", 1)
    assert pipespan(environment, "errors").stdout.splitlines()[-1] == "1 error of 1 kind"


def test_follow_and_watch_end_with_the_experiment(shipper: Shipper, environment: dict[str, str]) -> None:
    """Both go on while it runs, miss no line, and leave with 0 when it ends."""
    start(shipper)
    with (
        following(environment, "logs", "-f", "--json") as logs,
        following(environment, "watch", "--interval", "0.1") as watch,
    ):
        assert logs.stdout is not None
        assert watch.stdout is not None
        assert json.loads(logs.stdout.readline())["message"] == "first"
        assert "25%" in watch.stdout.readline()
        for number in range(20):
            shipper.ship(log(f"line {number}", timestamp=time.time_ns()))
        end(shipper)
        rest = [json.loads(line)["message"] for line in logs.stdout.read().splitlines()]
        assert rest == ["cannot read", *(f"line {number}" for number in range(20))]
        assert logs.wait(timeout=20) == 0
        assert "✔ train" in watch.stdout.read()
        assert watch.wait(timeout=20) == 0


def test_unreachable_and_unmigrated_databases(environment: dict[str, str], empty_dsn: str) -> None:
    """Each is one line with a remedy and exit code 1; `db migrate` mends the latter."""
    nowhere = pipespan(environment, "list", "--dsn", "host=/nowhere/at/all dbname=x password=geheim")
    assert nowhere.returncode == 1
    assert len(nowhere.stderr.splitlines()) == 1
    assert "geheim" not in nowhere.stderr
    empty = pipespan(environment, "list", "--dsn", empty_dsn)
    assert empty.returncode == 1
    assert "pipespan db migrate" in empty.stderr
    assert len(empty.stderr.splitlines()) == 1
    migrated = pipespan(environment, "db", "migrate", "--dsn", empty_dsn)
    assert migrated.returncode == 0, migrated.stderr
    assert "applied" in migrated.stdout
    assert pipespan(environment, "list", "--dsn", empty_dsn).stdout == "no experiments\n"
    assert pipespan(environment, "db", "migrate", "--dsn", empty_dsn).stdout == "the schema is up to date\n"


def test_db_url_and_ship(environment: dict[str, str]) -> None:
    """The address has no password, and an empty spool is all delivered."""
    url = pipespan(environment, "db", "url")
    assert url.returncode == 0, url.stderr
    assert len(url.stdout.splitlines()) == 1
    shipped = pipespan(environment, "ship", "--timeout", "5")
    assert shipped.returncode == 0, shipped.stderr
