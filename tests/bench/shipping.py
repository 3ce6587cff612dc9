"""Log rows on their way from the spool into Postgres, beside psql's `\\copy` of the same lines."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pipespan.config import load_settings
from pipespan.model.rows import LogRow
from pipespan.spool.delivery import Delivery
from pipespan.spool.layout import segments
from pipespan.spool.notices import Notices
from pipespan.spool.writer import SpoolWriter
from pipespan.store.postgres.embedded_binaries import find_programs
from pipespan.store.postgres.write import PostgresSink
from pipespan.store.sqlfiles import open_sql
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import Server, running_server


@dataclass(frozen=True, slots=True)
class Spool:
    """A stream of log rows, and the same rows as a file for psql."""

    folder: Path
    lines: Path
    row_count: int


@dataclass(frozen=True, slots=True)
class Trip:
    """How long the rows took, and what the client's CPU did meanwhile."""

    wall_s: float
    cpu_s: float


def against_psql(options: Options) -> dict[str, Samples]:
    """Measure rows a second, and the client's share of CPU."""
    with running_server() as server, psycopg.connect(server.dsn, autocommit=True) as connection:
        spool = _fill(server.state_dir, options.pick(100_000, 20_000))
        pairs = [
            _pair(server, connection, spool, is_ours_first=bool(number % 2))
            for number in range(options.pick(9, MIN_PAIRS) + 1)
        ]
        line_bytes = spool.lines.stat().st_size / spool.row_count
    pairs = pairs[1:]  # the first one makes the table's files
    thousands = spool.row_count / 1000
    return {
        "ship": Samples(
            [thousands / our.wall_s for our, _ in pairs],
            [thousands / their.wall_s for _, their in pairs],
            note=f"{spool.row_count} rows of {line_bytes:.0f} bytes",
        ),
        "ship_cpu": Samples(
            [our.cpu_s / our.wall_s for our, _ in pairs], [their.cpu_s / their.wall_s for _, their in pairs]
        ),
    }


def _pair(
    server: Server, connection: psycopg.Connection, spool: Spool, *, is_ours_first: bool
) -> tuple[Trip, Trip]:
    def run(way: Callable[[Server, Spool], Trip]) -> Trip:
        connection.execute("truncate pipeline_logs")
        connection.execute("checkpoint")  # else the one pays for what the other left to be written
        trip = way(server, spool)
        row = connection.execute("select count(*) from pipeline_logs").fetchone()
        if row != (spool.row_count,):
            raise AssertionError(f"{row!r} rows arrived by {way.__name__}, not {spool.row_count}")
        return trip

    if is_ours_first:
        first, second = run(_ship), run(_copy)
        return first, second
    first, second = run(_copy), run(_ship)
    return second, first


def _ship(server: Server, spool: Spool) -> Trip:
    # A stream is delivered once, so each trip has one of its own: the same files under another id.
    folder = spool.folder.parent / str(uuid.uuid4())
    folder.mkdir()
    sink = PostgresSink(server.dsn)
    try:
        batch_bytes = load_settings({}, server.state_dir).batch_bytes
        delivery = Delivery(folder, batch_bytes, Notices(), lambda _lane, _offset: None)
        delivery.run(sink)  # there is nothing yet, but it connects
        for segment in segments(spool.folder, "bulk"):
            os.link(segment.path, folder / segment.path.name)
        return _ship_all(delivery, sink)
    finally:
        sink.close()


def _ship_all(delivery: Delivery, sink: PostgresSink) -> Trip:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    delivery.run(sink, is_ended=True)
    return Trip(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def _copy(server: Server, spool: Spool) -> Trip:
    # The very statement of ours, with its comments left out, on one line and from a file.
    lines = [
        line for line in open_sql().query("copy_logs").decode().splitlines() if not line.startswith("--")
    ]
    statement = " ".join(" ".join(lines).split()).replace("from stdin", f"from '{spool.lines}'")
    psql = find_programs(None).path("psql")
    script = f"\\timing on\n\\{statement}\n"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [psql, "--no-psqlrc", server.dsn], input=script, check=True, capture_output=True, text=True
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # psql's own clock, so that its start does not count.
    wall_ms = float(ended.stdout.split("Time: ")[1].split(" ms")[0])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Trip(wall_ms / 1000, cpu_s)


def _fill(state_dir: Path, count: int) -> Spool:
    settings = load_settings({}, state_dir, state_dir=state_dir)
    writer = SpoolWriter(
        (settings.spool_dir(),), target="benchmark", segment_bytes=settings.segment_bytes,
        max_bytes=settings.spool_max_bytes, notices=Notices(),
    )  # fmt: skip
    for row in _rows(count):
        writer.write(row)
    stream = writer.close()
    if stream is None:
        raise AssertionError("the spool could not be written")
    stream.close()
    lines = state_dir / "lines.copy"
    with lines.open("wb") as file:
        for segment in segments(stream.folder, "bulk"):
            # The first byte of a line is the spool's tag.
            file.writelines(line[1:] for line in segment.path.read_bytes().splitlines(keepends=True))
    return Spool(stream.folder, lines, count)


def _rows(count: int) -> list[LogRow]:
    chance = random.Random(7)
    experiment_id, job_id = (
        str(uuid.UUID(int=chance.getrandbits(128))),
        str(uuid.UUID(int=chance.getrandbits(128))),
    )
    start_ns = time.time_ns()
    return [
        LogRow(
            experiment_id=experiment_id,
            job_id=job_id,
            node_id=f"train/epoch {number // 1000}/batch",
            timestamp=start_ns + number * 1000,
            level="INFO",
            severity_number=9,
            logger_name="pipeline.training.loop",
            message=f"batch {number} is done: loss {chance.random():.6f}, accuracy {chance.random():.6f}",
            context={
                "code.file.path": "/srv/pipeline/training/loop.py",
                "code.line.number": chance.randrange(1000),
                "code.function.name": "Trainer.run_epoch",
                "batch_size": 128,
                "learning_rate": chance.random(),
            },
            traceback=None,
            error_type=None,
            performance=None,
            trace_id=f"{chance.getrandbits(128):032x}",
            span_id=f"{chance.getrandbits(64):016x}",
        )
        for number in range(count)
    ]
