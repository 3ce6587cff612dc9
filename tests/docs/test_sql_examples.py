from __future__ import annotations

import re
import time
import uuid

import pytest

from pipespan.store.postgres.write import PostgresSink
from tests.docs.pages import PAGES, ROOT, name_of
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, job, log, metric, node

_EXAMPLE = re.compile(r"^<!-- example: sql -->\n+```sql\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXAMPLES = [
    pytest.param(query, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, query in enumerate(_EXAMPLE.findall(page.read_text(encoding="utf-8")), start=1)
]
_S = 1_000_000_000


@pytest.fixture
def filled(dsn, conn):
    """A database with a run that has something of everything."""
    now_ns = time.time_ns()
    sink = PostgresSink(dsn)
    Shipper(sink).ship(
        experiment(started_at=now_ns - 60 * _S),
        job(str(uuid.uuid4()), heartbeat_at=now_ns, progress_at=now_ns),
        node("train", start_time=now_ns - 60 * _S),
        node(
            "train/load", "train", node_level="phase", status="completed", start_time=now_ns - 50 * _S,
            end_time=now_ns - 40 * _S, completed_units=100, unit="files",
            metadata={"resources": {"memory_peak_bytes": 50_000_000, "cpu_ns": 8 * _S}},
        ),
        log("shard 3 is broken", level="ERROR", timestamp=now_ns, node_id="train/load", error_type="ValueError"),
        metric(timestamp=now_ns, cpu_percent=99.0),
    )  # fmt: skip
    sink.close()
    return conn


@pytest.mark.parametrize("query", _EXAMPLES)
def test_each_marked_query_finds_something(query, filled):
    """A query of the documentation runs as it stands and has an answer on a usual run."""
    assert filled.execute(query.replace(":'run'", f"'{EXPERIMENT_ID}'")).fetchall()


def test_each_view_and_function_is_documented(conn):
    """Each name that is offered has a section with an example, and its columns are named there."""
    text = (ROOT / "docs/reference/views-and-functions.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    views = conn.execute(
        "select table_name, array_agg(column_name::text) from information_schema.columns "
        "join information_schema.views using (table_schema, table_name) where table_schema = 'public' group by 1"
    ).fetchall()
    functions = conn.execute(
        "select proname, proargnames from pg_proc "
        "where pronamespace = 'public'::regnamespace and proname like 'get\\_%'"
    ).fetchall()
    assert len(views) >= 3
    assert len(functions) >= 7
    for name, words in [*views, *functions]:
        assert _EXAMPLE.search(sections[name]), name
        assert [word for word in words if not re.search(rf"\b{word}\b", sections[name])] == [], name
