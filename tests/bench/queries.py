"""What questions cost in a database of many log rows, beside the same questions in one of few."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

import psycopg
from psycopg import conninfo, sql

from pipespan.model.rows import LogRow
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import encode_row
from pipespan.store.postgres.migrate import migrate
from pipespan.store.postgres.write import PostgresSink
from tests.bench.pairs import Side, timed_pairs
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import running_server

EXPERIMENTS: Final = 200
DAYS: Final = 40
PROBE_ROWS: Final = 500
PROBE_ID: Final = str(uuid.UUID(int=EXPERIMENTS + 1))
TREE_ID: Final = str(uuid.UUID(int=EXPERIMENTS + 2))
GROWN_ID: Final = str(uuid.UUID(int=EXPERIMENTS // 2))
"""One of those that share all other rows: it grows as the table does."""

BATCH_ROWS: Final = 1_000

# Each experiment runs for five days; every hundredth record is an error, of one of twenty kinds.
_FILL: Final = """
insert into pipeline_logs (
    experiment_id, timestamp, level, severity_number, logger_name, node_id, message, error_type, context
)
select
    coalesce(%(id)s::uuid, lpad(to_hex(1 + number %% %(experiments)s), 32, '0')::uuid),
    date_trunc('day', now()) + interval '1 hour' - make_interval(secs => 86400 * (
        5 * (number::float8 / %(rows)s)
        + case when %(id)s::uuid is null then (number %% %(experiments)s) * 35.0 / %(experiments)s else 18 end
    )),
    (array['INFO', 'INFO', 'DEBUG', 'WARNING'])[1 + number %% 4],
    9,
    'app.module',
    'train/phase-' || number %% 7 || '/step-' || number %% 50,
    'record ' || number || ' ' || repeat(md5(number::text), 8),
    null,
    '{"rank": 3, "loss": 0.25}'
from generate_series(1, %(rows)s::bigint) as number
"""
_FAIL: Final = """
insert into pipeline_logs (
    experiment_id, timestamp, level, severity_number, logger_name, node_id, message, error_type, traceback
)
select
    log.experiment_id, log.timestamp, 'ERROR', 17, log.logger_name, log.node_id, 'failed at ' || log.id, 'ValueError',
    E'Traceback (most recent call last):\\n  File "/app/a.py", line 3, in f' || chr(97 + (log.id %% 20)::integer)
    || E'\\nValueError: no\\n'
from pipeline_logs as log
where log.id %% 100 = 0
"""
_TREE: Final = """
insert into pipeline_progress (experiment_id, node_id, node_level, parent_id, node_name, status, start_time)
select %(id)s::uuid, 'r', 'pipeline', null, 'r', 'running', now()
union all
select %(id)s::uuid, 'r/' || p, 'phase', 'r', 'p', 'running', now() from generate_series(1, 100) as p
union all
select %(id)s::uuid, 'r/' || p || '/' || s, 'step', 'r/' || p, 's', 'running', now()
from generate_series(1, 100) as p, generate_series(1, 999) as s
"""

_QUESTIONS: Final[Mapping[str, str]] = {
    "query_last": "select * from get_experiment_logs(%s)",
    "query_errors": "select * from get_experiment_logs(%s, 'ERROR')",
    "query_histogram": "select * from get_log_histogram(%s)",
    "query_search": "select * from get_experiment_logs(%s, p_search => 'record 7')",
    "query_summary": "select get_error_summary(%s)",
    "query_tree": "select * from get_progress_tree(%s, 2)",
}


def among_many_rows(options: Options) -> dict[str, Samples]:
    """Measure each question by turns among many rows and among few, and then what one more row costs.

    The experiment that is asked for is the same in both.
    """
    with running_server() as server, ExitStack() as stack:
        dsn_of_many = _filled(server.dsn, "many", options.pick(10_000_000, 500_000))
        many = _connected(stack, dsn_of_many)
        few = _connected(stack, _filled(server.dsn, "few", 100_000))
        samples = {
            name: _pairs(many, few, query, TREE_ID if name == "query_tree" else PROBE_ID, options)
            for name, query in _QUESTIONS.items()
        }
        batches = options.pick(50, 20)
        samples["ingest_growth"] = timed_pairs(
            Side(_ingest(stack, dsn_of_many, batches)),
            Side(_ingest(stack, _filled(server.dsn, "fewer", 10_000, has_tree=False), batches)),
            units=batches * BATCH_ROWS,
            pairs=options.pick(15, MIN_PAIRS),
            scale=1e6,
        )
        return samples


def _pairs(
    many: psycopg.Connection[Any], few: psycopg.Connection[Any], query: str, asked: str, options: Options
) -> Samples:
    times = options.pick(20, 5)

    def ask(connection: psycopg.Connection[Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                connection.execute(query, (asked,)).fetchall()

        return run

    samples = timed_pairs(
        Side(ask(many)), Side(ask(few)), units=times, pairs=options.pick(15, MIN_PAIRS), scale=1e3
    )
    if asked != PROBE_ID:
        return samples
    started_s = time.perf_counter()
    many.execute(query, (GROWN_ID,)).fetchall()
    grown_ms = (time.perf_counter() - started_s) * 1000
    return Samples(
        samples.ours,
        samples.peer,
        f"{samples.note}; an experiment that grew with the table {grown_ms:.1f} ms",
    )


def _filled(dsn: str, name: str, rows: int, *, has_tree: bool = True) -> str:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    fresh = conninfo.make_conninfo(dsn, dbname=name)
    migrate(fresh)
    with psycopg.connect(fresh, autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        _add_partitions(connection)
        values = {"experiments": EXPERIMENTS, "rows": rows, "id": None}
        connection.execute(_FILL, values)
        connection.execute(_FILL, {**values, "rows": PROBE_ROWS, "id": PROBE_ID})
        connection.execute(_FAIL, {})
        if has_tree:
            connection.execute("insert into experiments (id, name) values (%s, 'tree')", (TREE_ID,))
            connection.execute(_TREE, {"id": TREE_ID})
        connection.execute("vacuum analyze")
    return fresh


def _add_partitions(connection: psycopg.Connection[Any]) -> None:
    # Those from yesterday on are there.
    for age in range(2, DAYS + 3):
        connection.execute(
            """
            do $$ declare day date := (now() at time zone 'UTC')::date - %s; begin
                execute format(
                    'create table pipeline_logs_p%%s partition of pipeline_logs for values from (%%L) to (%%L)',
                    to_char(day, 'YYYYMMDD'), day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'
                );
            end $$
            """.replace("%s;", f"{age};").replace("%%", "%")
        )


def _ingest(stack: ExitStack, dsn: str, batches: int) -> Callable[[], None]:
    sink = PostgresSink(dsn)
    stack.callback(sink.close)
    key = StreamKey(str(uuid.uuid4()), "bulk")
    position = 0

    def run() -> None:
        nonlocal position
        for _ in range(batches):
            lines = _lines()
            size = sum(map(len, lines))
            sink.ship(Batch(key, position, position + size, {LogRow: lines}))
            position += size

    return run


def _lines() -> list[bytes]:
    now_ns = time.time_ns()
    row = LogRow(
        experiment_id=GROWN_ID, job_id=None, node_id="train/phase-1/step-2", timestamp=now_ns, level="INFO",
        severity_number=9, logger_name="app.module", message="record " + "0123456789abcdef" * 16,
        context={"rank": 3, "loss": 0.25}, traceback=None, error_type=None, performance=None, trace_id=None,
        span_id=None,
    )  # fmt: skip
    return [encode_row(row._replace(timestamp=now_ns + number)) for number in range(BATCH_ROWS)]


def _connected(stack: ExitStack, dsn: str) -> psycopg.Connection[Any]:
    return stack.enter_context(psycopg.connect(dsn, autocommit=True))
