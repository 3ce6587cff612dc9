"""A program in Go that knows nothing of pipespan: its tree, its records and its measures are in the tables."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.collector.stack import SERVE_TOKEN, clean_environment, receiver
from tests.fixtures.postgres import fresh_database

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def rows(
    gosender: Path, pg_admin_dsn: str, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rows]:
    """Run the program once; return a function that runs SQL on what came of it."""
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        part, _ = receiver(tmp_path_factory.mktemp("go"), dsn, "serve")
        part.start()
        environ = {
            **clean_environment(),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{part.port}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SERVE_TOKEN}",
        }
        done = subprocess.run(
            [str(gosender)], env=environ, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield lambda query: connection.execute(query.encode()).fetchall()
        part.stop()


def test_the_tree(rows: Rows) -> None:
    """The root span is the pipeline; what is below hangs where it was opened, with its outcome."""
    found = rows(
        "select n.node_name as name, p.node_name as parent, n.status from pipeline_progress n"
        " left join pipeline_progress p on p.node_id = n.parent_id and p.experiment_id = n.experiment_id"
    )
    # Without an order: two spans may start within the same microsecond.
    assert Counter((row["name"], row["parent"], row["status"]) for row in found) == Counter([
        ("unload ship", None, "completed"),
        ("container 0", "unload ship", "completed"), ("lift", "container 0", "completed"),
        ("container 1", "unload ship", "failed"), ("lift", "container 1", "completed"),
        ("container 2", "unload ship", "completed"), ("lift", "container 2", "completed"),
        ("customs", "unload ship", "completed"),
    ])  # fmt: skip
    (root,) = rows("select node_level, metadata from pipeline_progress where parent_id is null")
    assert root["node_level"] == "pipeline"
    about = root["metadata"]
    assert (about["ship"], about["containers"], about["cranes"]) == ("Grüne Welle", 3, ["a", "b"])
    (customs,) = rows(
        "select metadata #> '{otel,links}' as links from pipeline_progress where node_name = 'customs'"
    )
    assert [link["why"] for link in customs["links"]] == ["paper"]
    (lift,) = rows(
        "select distinct metadata #>> '{otel,kind}' as kind from pipeline_progress where node_name = 'lift'"
    )
    assert lift["kind"] == "client"


def test_experiment_and_job(rows: Rows) -> None:
    """The root span names and ends the experiment; the resource names the process."""
    assert rows("select name, status, ended_at is not null as is_over from experiments") == [
        {"name": "unload ship", "status": "completed", "is_over": True}
    ]
    (job,) = rows("select host, pid, evidence from processing_jobs where experiment_id in"
                  " (select experiment_id from pipeline_progress)")  # fmt: skip
    assert job["host"] == os.uname().nodename
    assert job["pid"] > 0
    assert job["evidence"]["resource"]["service.instance.id"] == "quay-7"


def test_records(rows: Rows) -> None:
    """All of them, with level, node and values."""
    counts = {row["level"]: row["count"] for row in rows(
        "select level, count(*) as count from pipeline_logs group by 1")}  # fmt: skip
    assert counts == {"INFO": 250, "DEBUG": 3, "ERROR": 2}
    numbers = rows(
        "select (context ->> 'number')::int as number from pipeline_logs where level = 'INFO' order by 1"
    )
    assert [row["number"] for row in numbers] == list(range(250))
    (where,) = rows(
        "select distinct n.node_name from pipeline_logs l join pipeline_progress n"
        " on n.experiment_id = l.experiment_id and n.node_id = l.node_id where l.message = 'hooked'"
    )
    assert where["node_name"] == "lift"
    (hangs,) = rows("select context, logger_name from pipeline_logs where message = 'it hangs'")
    assert hangs == {"context": {"load": {"t": 12.5, "where": ["quay"]}}, "logger_name": "harbour"}


def test_the_exception(rows: Rows) -> None:
    """What `RecordError` noted is an error of its node, with the stack."""
    (found,) = rows(
        "select l.message, l.level, l.error_type, l.traceback, n.node_name from pipeline_logs l"
        " join pipeline_progress n on n.experiment_id = l.experiment_id and n.node_id = l.node_id"
        " where l.traceback is not null"
    )
    assert (found["node_name"], found["level"]) == ("container 1", "ERROR")
    assert found["message"] == "crane stuck: i/o timeout"
    assert found["error_type"] == "*fmt.wrapError"
    assert "main.container" in found["traceback"]
    (stamped,) = rows("select event_type, details from pipeline_events")
    assert stamped == {"event_type": "stamped", "details": {"in_time": True}}


def test_measures(rows: Rows) -> None:
    """Sums, gauges and both kinds of histograms keep what they are."""
    found: dict[str, Any] = {}
    for row in rows("select custom_metrics from pipeline_metrics"):
        found.update(row["custom_metrics"])
    assert found["crane.lifted{crane=a}"] == 2
    assert found["crane.lifted{crane=b}"] == 1
    assert found["quay.waiting"] == 3
    assert found["wind"] == 7.5
    taken = found["unload.duration"]
    assert (taken["count"], taken["sum"], taken["min"], taken["max"]) == (3, 55.5, 0.5, 50)
    assert (taken["bounds"], taken["counts"], taken["temporality"]) == ([1, 10], [1, 1, 1], "cumulative")
    load = found["crane.load"]
    assert (load["count"], load["sum"], load["zero_count"]) == (3, 55.5, 0)
    assert sum(load["positive"]["counts"]) == 3
    assert load["scale"] <= 20
