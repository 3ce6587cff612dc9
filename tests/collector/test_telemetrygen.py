"""The load generator of the official Collector: every span, record and point of it is in the tables, once."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.collector.stack import SERVE_TOKEN, Stack, receiver, until
from tests.fixtures.postgres import fresh_database

WORKERS = 2


class Target:
    """Where the generator sends to, and the database behind it."""

    def __init__(self, endpoint: str, dsn: str, token: str | None, stack: Stack | None = None) -> None:
        self.endpoint = endpoint
        self.dsn = dsn
        self.token = token
        self.stack = stack

    def rows(self, query: str, service: str) -> list[dict[str, Any]]:
        """Run SQL with the experiments of a service as `ours`."""
        ours = (
            "with ours as (select distinct experiment_id as id from processing_jobs"
            " where evidence #>> '{resource,service.name}' = %s) "
        )
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute((ours + query).encode(), [service]).fetchall()

    def settle(self) -> None:
        """Wait for what may still be on its way; without a Collector the generator has its answers."""
        if self.stack is not None:
            self.stack.settle()


@pytest.fixture(scope="module")
def direct(pg_admin_dsn: str, pg_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Run one receiver alone."""
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        part, _ = receiver(tmp_path_factory.mktemp("direct"), dsn, "serve")
        part.start()
        yield Target(f"127.0.0.1:{part.port}", dsn, SERVE_TOKEN)
        part.stop()


@pytest.fixture(params=["direct", "collector"])
def target(request: pytest.FixtureRequest) -> Target:
    """Give each way in turn."""
    if request.param == "direct":
        found: Target = request.getfixturevalue("direct")
        return found
    stack: Stack = request.getfixturevalue("stack")
    return Target(stack.agent, stack.dsn, None, stack)


def generate(program: Path, target: Target, *arguments: str) -> str:
    """Send; return the name of the service that was sent for."""
    service = f"load-{uuid.uuid4().hex[:8]}"
    headers = [] if target.token is None else ["--otlp-header", f'authorization="Bearer {target.token}"']
    line = [
        str(program), *arguments, "--otlp-insecure", "--otlp-endpoint", target.endpoint, *headers,
        "--service", service, "--workers", str(WORKERS), "--rate", "0",
    ]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return service


def test_traces(telemetrygen: Path, target: Target) -> None:
    """Each trace is an experiment, its root a pipeline, and each span a node."""
    service = generate(telemetrygen, target, "traces", "--traces", "150", "--child-spans", "3")
    query = (
        "select n.parent_id is null as is_root, n.status, count(*) as count from pipeline_progress n"
        " join ours on ours.id = n.experiment_id group by 1, 2"
    )
    traces = 150 * WORKERS
    wanted = {(True, "completed"): traces, (False, "completed"): traces * 3}

    def found() -> dict[tuple[bool, str], int]:
        return {(row["is_root"], row["status"]): row["count"] for row in target.rows(query, service)}

    until(lambda: sum(found().values()) >= traces * 4, f"{found()}")
    target.settle()
    assert found() == wanted
    (ended,) = target.rows(
        "select count(*) as count from experiments e join ours on ours.id = e.id where e.status = 'completed'",
        service,
    )
    assert ended["count"] == traces


def test_logs(telemetrygen: Path, target: Target) -> None:
    """Records that belong to no trace are the service's."""
    arguments = [
        "logs",
        "--logs",
        "400",
        "--severity-number",
        "17",
        "--severity-text",
        "Error",
        "--body",
        "ächz",
    ]
    service = generate(telemetrygen, target, *arguments)
    query = (
        "select l.level, l.message, count(*) as count from pipeline_logs l join ours on ours.id = l.experiment_id"
        " group by 1, 2"
    )
    until(lambda: sum(row["count"] for row in target.rows(query, service)) >= 400 * WORKERS, "logs")
    target.settle()
    assert target.rows(query, service) == [{"level": "ERROR", "message": "ächz", "count": 400 * WORKERS}]
    (errors,) = target.rows(
        "select sum(error_count)::bigint as count from experiments e join ours on ours.id = e.id", service
    )
    assert errors["count"] == 400 * WORKERS


@pytest.mark.parametrize("kind", ["Gauge", "Sum", "Histogram", "ExponentialHistogram"])
def test_metrics(telemetrygen: Path, target: Target, kind: str) -> None:
    """Each point of each kind is a series of a row."""
    service = generate(telemetrygen, target, "metrics", "--metrics", "200", "--metric-type", kind)
    query = (
        "select key, jsonb_typeof(value) as type, count(*) as count from pipeline_metrics m"
        " join ours on ours.id = m.experiment_id, jsonb_each(m.custom_metrics) group by 1, 2"
    )
    until(lambda: sum(row["count"] for row in target.rows(query, service)) >= 200 * WORKERS, "metrics")
    target.settle()
    found = target.rows(query, service)
    assert [row["count"] for row in found] == [200 * WORKERS], found
    assert found[0]["key"].startswith("gen")
