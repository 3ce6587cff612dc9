"""Old days of logs go while a writer goes on: how long that takes, and how long the writer ever waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Final

import psycopg

from pipespan.store.maintenance import PruneRules
from pipespan.store.postgres.maintain import PostgresMaintenance
from pipespan.store.postgres.write import PostgresSink
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import running_server
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, log, node
from tests.store.aged import make_days

_DAYS: Final = range(31, 61)
_FILL: Final = b"""
insert into pipeline_logs (experiment_id, timestamp, level, severity_number, logger_name, message)
select
    %(experiment_id)s::uuid, %(start)s::timestamptz + i * interval '1 day' / %(count)s,
    case when i %% 100 = 0 then 'ERROR' else 'INFO' end, 9, 'train', repeat('m', 300) || i
from generate_series(0, %(count)s - 1) as i
"""


@dataclass
class Writer:
    """Ships small batches of today's rows, one after the other, and keeps how long each took."""

    dsn: str
    took_s: list[float] = field(default_factory=list)
    is_done: threading.Event = field(default_factory=threading.Event)

    def longest_s(self, meanwhile: Callable[[], object]) -> float:
        """Return the longest transaction while something else is done."""
        self.took_s.clear()
        self.is_done.clear()
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            while not self.took_s:
                time.sleep(0.01)
            self.took_s.clear()
            meanwhile()
        finally:
            self.is_done.set()
            thread.join()
        return max(self.took_s)

    def _write(self) -> None:
        with closing(PostgresSink(self.dsn)) as sink:
            shipper = Shipper(sink)
            shipper.ship(experiment(), node("train"))
            while not self.is_done.is_set():
                now = time.time_ns()
                started_s = time.perf_counter()
                shipper.ship(*(log("now", timestamp=now) for _ in range(50)))
                self.took_s.append(time.perf_counter() - started_s)


def dropping(options: Options) -> dict[str, Samples]:
    """Measure days that go whole."""
    before = datetime.now(timezone.utc) - timedelta(days=30)
    return _measured(options, "prune_drop", lambda dsn: _prune(dsn, PruneRules(rest_before=before)))


def thinning(options: Options) -> dict[str, Samples]:
    """Measure days of which errors stay."""
    before = datetime.now(timezone.utc) - timedelta(days=30)
    return _measured(options, "prune_thin", lambda dsn: _prune(dsn, PruneRules(mild_before=before)))


def by_function(options: Options) -> dict[str, Samples]:
    """Measure the function for people."""
    return _measured(options, "prune_function", _cleanup)


def _prune(dsn: str, rules: PruneRules) -> None:
    with closing(PostgresMaintenance(dsn)) as maintenance:
        report = maintenance.prune(rules)
    if len(report.partitions) != len(_DAYS):
        raise AssertionError(f"{len(report.partitions)} partitions went, {len(report.busy)} were busy")


def _cleanup(dsn: str) -> None:
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        freed = connection.execute("select count(*) from cleanup_old_logs(30)").fetchone()
    if freed != (len(_DAYS),):
        raise AssertionError(f"{freed!r} partitions were dropped")


def _measured(options: Options, name: str, work: Callable[[str], None]) -> dict[str, Samples]:
    took: list[float] = []
    blocked: list[float] = []
    undisturbed: list[float] = []
    rows = options.pick(10_000, 1_000)
    with running_server() as server, closing(psycopg.connect(server.dsn, autocommit=True)) as connection:
        writer = Writer(server.dsn)

        def timed() -> None:
            started_s = time.perf_counter()
            work(server.dsn)
            took.append(time.perf_counter() - started_s)

        for _ in range(options.pick(9, MIN_PAIRS)):
            _fill(connection, rows)
            blocked.append(writer.longest_s(timed) * 1000)
            undisturbed.append(writer.longest_s(lambda: time.sleep(took[-1])) * 1000)
    note = f"{len(_DAYS)} days of {rows:,} rows"
    return {name: Samples(took, note=note), f"{name}_block": Samples(blocked, undisturbed)}


def _fill(connection: psycopg.Connection, rows: int) -> None:
    connection.execute("select * from cleanup_old_logs(30)")
    connection.execute("truncate pipeline_logs")
    make_days(connection, _DAYS, ["pipeline_logs"])
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in _DAYS:
        values = {"experiment_id": EXPERIMENT_ID, "start": today - timedelta(days=days), "count": rows}
        connection.execute(_FILL, values)
    connection.execute("checkpoint")
