"""What every store can tell beyond the state of one experiment: the same suite over both."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pipespan.errors import RefusedError
from pipespan.model.rows import NodeRow, Row
from pipespan.store.base import LogFilter, Source
from pipespan.store.chronicle import EventFilter, ExperimentFilter, MetricFilter
from pipespan.store.copytext import decode_line, encode_row
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import (
    EXPERIMENT_ID,
    MOMENT_UNIX_NS,
    Shipper,
    event,
    experiment,
    job,
    log,
    metric,
    node,
)

S = 1_000_000_000
MOMENT = datetime(2025, 10, 9, 8, 53, 20, 123456, tzinfo=timezone.utc)
ANCIENT = datetime.min.replace(tzinfo=timezone.utc)
FUTURE = datetime.max.replace(tzinfo=timezone.utc)
JOB_IDS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(3)]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def shipper(request: pytest.FixtureRequest) -> Iterator[Shipper]:
    if request.param == "memory":
        yield Shipper(MemoryStore())
        return
    sink = PostgresSink(request.getfixturevalue("dsn"))
    yield Shipper(sink)
    sink.close()


@pytest.fixture
def source(shipper: Shipper, request: pytest.FixtureRequest) -> Iterator[Source]:
    if isinstance(shipper.sink, MemoryStore):
        yield shipper.sink
        return
    reader = PostgresSource(request.getfixturevalue("dsn"))
    yield reader
    reader.close()


def at(seconds: float) -> datetime:
    return MOMENT + timedelta(seconds=seconds)


def test_experiments_are_selected(shipper: Shipper, source: Source) -> None:
    """By name, status, tag and start, newest first; patterns are no patterns."""
    ids = [f"{number}aaaaaaa-0000-4000-8000-000000000000" for number in range(4)]
    shipper.ship(
        experiment(ids[0], name="train", started_at=MOMENT_UNIX_NS),
        experiment(ids[1], name="train", started_at=MOMENT_UNIX_NS + S, status="failed"),
        experiment(ids[2], name="tr%", started_at=MOMENT_UNIX_NS + 2 * S, tags=("x",)),
        experiment(ids[3], name="other", started_at=MOMENT_UNIX_NS + 3 * S, status="failed"),
    )

    def select(limit: int = 10, **wanted: Any) -> list[int]:
        found = source.select_experiments(ExperimentFilter(**wanted), limit=limit)
        return [ids.index(one.id) for one in found]

    assert select() == [3, 2, 1, 0]
    assert select(limit=1) == [3]
    assert select(limit=-1) == []
    assert select(name="train") == [1, 0]
    assert select(name="tr%") == [2]
    assert select(status="failed") == [3, 1]
    assert select(tag="x") == [2]
    assert select(name="\x00") == select(tag="\ud800") == []
    assert select(since=at(1), until=at(3)) == [2, 1]
    assert select(since=FUTURE) == select(until=ANCIENT) == []
    assert select(since=ANCIENT, until=FUTURE) == [3, 2, 1, 0]


def test_logs_within_a_time(shipper: Shipper, source: Source) -> None:
    """The lower bound is taken in, the upper one is not; both work with a cursor too."""
    shipper.ship(experiment(), *(log(f"m{s}", timestamp=MOMENT_UNIX_NS + s * S) for s in (3, 1, 2, 0)))

    def messages(**wanted: Any) -> list[str]:
        return [one.message for one in source.logs(EXPERIMENT_ID, LogFilter(**wanted))]

    assert messages(since=at(1), until=at(3)) == ["m1", "m2"]
    assert messages(since=at(1), limit=1) == ["m3"]
    assert messages(since=at(1), after_id=0) == ["m3", "m1", "m2"]
    assert messages(since=ANCIENT, until=FUTURE) == ["m0", "m1", "m2", "m3"]
    assert messages(since=FUTURE) == messages(until=ANCIENT) == []


def test_events_are_filtered(shipper: Shipper, source: Source) -> None:
    """By type, severity, node with all below it, and time; after an id in order of arrival."""
    shipper.ship(
        experiment(),
        node("p"),
        node("keyed", "p"),
        event("e3", timestamp=MOMENT_UNIX_NS + 3 * S, event_type="artifact", node_id="p/a"),
        event("e1", timestamp=MOMENT_UNIX_NS + S, severity="ERROR", node_id="keyed"),
        event("e2", timestamp=MOMENT_UNIX_NS + 2 * S, severity="WARNING", node_id="px"),
        event("other", experiment_id=str(uuid.uuid4())),
    )

    def titles(limit: int = 10, **wanted: Any) -> list[str]:
        found = source.events(EXPERIMENT_ID, limit=limit, wanted=EventFilter(**wanted))
        return [one.title for one in found]

    assert titles() == ["e1", "e2", "e3"]
    assert titles(event_type="artifact") == ["e3"]
    assert titles(event_type="art%") == titles(event_type="\x00") == []
    assert titles(severity="WARNING") == ["e1", "e2"]
    assert titles(node_id="p") == ["e1", "e3"]
    assert titles(since=at(1), until=at(3)) == ["e1", "e2"]
    assert titles(after_id=0, limit=2) == ["e3", "e1"]
    assert titles(limit=0) == []
    (_, second, _) = source.events(EXPERIMENT_ID, limit=3, wanted=EventFilter(after_id=0))
    assert titles(after_id=second.id) == ["e2"]


def test_metrics_are_filtered(shipper: Shipper, source: Source) -> None:
    """By node with all below it, and time; after an id in order of arrival."""
    shipper.ship(
        experiment(),
        metric(memory_mb=3.0, timestamp=MOMENT_UNIX_NS + 3 * S, node_id="p/a"),
        metric(memory_mb=1.0, timestamp=MOMENT_UNIX_NS + S),
        metric(memory_mb=2.0, timestamp=MOMENT_UNIX_NS + 2 * S, node_id="p", custom_metrics={"loss": 0.5}),
    )

    def values(limit: int = 10, **wanted: Any) -> list[float | None]:
        return [
            one.memory_mb for one in source.metrics(EXPERIMENT_ID, limit=limit, wanted=MetricFilter(**wanted))
        ]

    assert values() == [1.0, 2.0, 3.0]
    assert values(node_id="p") == [2.0, 3.0]
    assert values(since=at(2)) == [2.0, 3.0]
    assert values(until=at(2)) == [1.0]
    assert values(after_id=0) == [3.0, 1.0, 2.0]
    assert values(after_id=0, limit=1) == [3.0]


def run(shipper: Shipper, number: int, *, name: str = "train", seconds: float = 10.0, **changes: Any) -> str:
    """Ship an experiment with two phases and a step; return its id."""
    experiment_id = f"{number}{EXPERIMENT_ID[1:]}"
    start = MOMENT_UNIX_NS + number * 1000 * S
    fit: dict[str, Any] = {
        "status": "completed",
        "node_level": "phase",
        "completed_units": 100,
        "start_time": start,
        "end_time": start + int(seconds * S),
        "metadata": {"resources": {"memory_peak_bytes": number * 10**6, "cpu_ns": number * S}},
    }
    shipper.ship(
        experiment(experiment_id, name=name, started_at=start),
        *(
            row._replace(experiment_id=experiment_id)
            for row in (
                node("train", start_time=start),
                node("train/load", "train", node_level="phase", status="running", start_time=start - S),
                node("train/fit", "train", **{**fit, **changes}),
                node("train/fit/e1", "train/fit", start_time=start),
            )
        ),
        log("e", experiment_id=experiment_id, level="ERROR", node_id="train/fit/e1"),
        log("e", experiment_id=experiment_id, level="ERROR", node_id="train/fitness"),
    )
    return experiment_id


def test_the_runs_of_phases(shipper: Shipper, source: Source) -> None:
    """Newest first, of one name only, at most so many of each phase, with what each of them used."""
    ids = [run(shipper, number) for number in (1, 2, 3)]
    run(shipper, 4, name="other")
    found = source.phase_history("train", None, limit=2)
    assert [(one.experiment_id, one.node_id) for one in found] == [
        (ids[2], "train/fit"),
        (ids[2], "train/load"),
        (ids[1], "train/fit"),
        (ids[1], "train/load"),
    ]
    newest = found[0]
    assert (newest.experiment_name, newest.node_name, newest.node_level) == ("train", "fit", "phase")
    assert (newest.duration_s, newest.peak_memory_mb, newest.cpu_s) == (10.0, 3.0, 3.0)
    assert (newest.completed_units, newest.throughput_per_s, newest.error_count) == (100, 10.0, 1)
    assert (newest.status, newest.attempt, newest.start_time) == ("completed", 1, at(3000))
    assert found[1].duration_s is not None
    assert found[1].end_time is None
    assert found[1].peak_memory_mb is None


def test_the_runs_of_one_phase(shipper: Shipper, source: Source) -> None:
    """By name it is a phase, by id any node; what nobody knows has no runs."""
    run(shipper, 1)

    def found(phase: str, pipeline: str = "train", limit: int = 5) -> list[str]:
        return [one.node_id for one in source.phase_history(pipeline, phase, limit=limit)]

    assert found("fit") == found("train/fit") == ["train/fit"]
    assert found("train/fit/e1") == ["train/fit/e1"]
    assert found("train") == ["train"]
    assert found("e1") == found("fi%") == found("\x00") == found("") == []
    assert found("fit", pipeline="nobody") == found("fit", limit=0) == found("fit", limit=-1) == []
    assert found("fit", limit=2**70) == ["train/fit"]


def test_trends(shipper: Shipper, source: Source) -> None:
    """Each measure of each phase over its last runs; what failed tells of errors only."""
    for number, seconds in enumerate((10.0, 30.0, 20.0), start=1):
        run(shipper, number, seconds=seconds)
    run(shipper, 4, seconds=1.0, status="failed")
    found = {(one.node_id, one.measure): one for one in source.phase_trends("train", "fit", last=4)}
    assert list(found) == [
        ("train/fit", name) for name in ("duration_s", "peak_memory_mb", "cpu_s", "errors")
    ]
    duration = found["train/fit", "duration_s"]
    assert (duration.runs, duration.min, duration.mean, duration.median) == (3, 10.0, 20.0, 20.0)
    assert duration.p90 == pytest.approx(28.0)
    assert (duration.max, list(duration.last)) == (30.0, [10.0, 30.0, 20.0])
    assert list(found["train/fit", "errors"].last) == [1.0] * 4
    assert [one.runs for one in source.phase_trends("train", "fit", last=2)] == [1, 1, 1, 2]
    assert source.phase_trends("nobody", None, last=2) == []
    assert hash(duration) is not None


def test_resources_over_time(shipper: Shipper, source: Source) -> None:
    """Stretches of equal length for each process: most memory, mean CPU; no sample is lost."""
    shipper.ship(
        experiment(),
        *(
            metric(
                timestamp=MOMENT_UNIX_NS + s * S, job_id=JOB_IDS[s % 2], memory_mb=float(s), cpu_percent=float(s),
                disk_usage_mb=float(s), throughput_per_sec=None if s % 4 else float(s), node_id=f"p/{s}",
            )
            for s in range(8)
        ),
        metric(timestamp=MOMENT_UNIX_NS + 8 * S, memory_mb=None, custom_metrics={"loss": 1}, node_id="q"),
    )  # fmt: skip
    points = source.resource_timeline(EXPERIMENT_ID, points=2)
    assert [(one.bucket_start, one.job_id, one.samples) for one in points] == [
        (at(0), JOB_IDS[0], 2),
        (at(0), JOB_IDS[1], 2),
        (at(4), JOB_IDS[0], 2),
        (at(4), JOB_IDS[1], 2),
        (at(4), None, 1),
    ]
    assert [(one.memory_mb, one.cpu_percent, one.disk_usage_mb) for one in points] == [
        (2.0, 1.0, 2.0),
        (3.0, 2.0, 3.0),
        (6.0, 5.0, 6.0),
        (7.0, 6.0, 7.0),
        (None, None, None),
    ]
    assert [one.throughput_per_sec for one in points] == [0.0, None, 4.0, None, None]
    assert sum(one.samples for one in source.resource_timeline(EXPERIMENT_ID, points=2**40)) == 9
    (only,) = source.resource_timeline(EXPERIMENT_ID, points=5, node_id="q")
    assert (only.bucket_start, only.samples) == (at(8), 1)
    assert source.resource_timeline(EXPERIMENT_ID, points=5, node_id="\x00%") == []
    assert source.resource_timeline(str(uuid.uuid4()), points=5) == []
    with pytest.raises(RefusedError, match="at least 1"):
        source.resource_timeline(EXPERIMENT_ID, points=0)


def test_throughput(shipper: Shipper, source: Source) -> None:
    """Nodes that count units, in order of start; one that took no time has no rate."""
    ended: dict[str, Any] = {"status": "completed", "end_time": MOMENT_UNIX_NS + 4 * S}
    shipper.ship(
        experiment(),
        node("b", completed_units=8, unit="files", start_time=MOMENT_UNIX_NS + 2 * S, **ended),
        node("a", completed_units=8, **ended),
        node("idle"),
        node("planned", completed_units=1, status="pending", start_time=None),
        node("instant", completed_units=5, status="failed", end_time=MOMENT_UNIX_NS),
    )
    found = source.node_throughput(EXPERIMENT_ID)
    assert [(one.node_id, one.completed_units, one.unit, one.duration_s, one.throughput_per_s) for one in found] == [
        ("a", 8, None, 4.0, 2.0),
        ("instant", 5, None, 0.0, None),
        ("b", 8, "files", 2.0, 4.0),
        ("planned", 1, None, None, None),
    ]  # fmt: skip


def test_jobs_tell_their_experiment(shipper: Shipper, source: Source) -> None:
    """Of known jobs only."""
    shipper.ship(experiment(), job(JOB_IDS[0]), job(JOB_IDS[1]))
    assert source.experiments_of_jobs([JOB_IDS[0], JOB_IDS[2]]) == {JOB_IDS[0]: EXPERIMENT_ID}
    assert source.experiments_of_jobs([]) == {}


def stored(row: Row) -> Row:
    """Return a row as it comes out of a store: times in microseconds."""
    return decode_line(type(row), encode_row(row))


def test_a_snapshot_has_every_row_as_it_was_written(shipper: Shipper, source: Source) -> None:
    """All columns of all tables, in the order in which they are written again."""
    rows: list[Row] = [
        experiment(params={"a": [1, None, {"b": 2.5}], "ä\n": "\t\\"}),
        job(JOB_IDS[0], evidence={"k": 1}, exit_code=-9, log_messages=("a", 'b"\\')),
        job(JOB_IDS[1], started_at=MOMENT_UNIX_NS + S, parent_job_id=JOB_IDS[0]),
        node("p", weight=math.inf, metadata={"deep": {"er": []}}),
        node("p/z", "p", start_time=None, status="pending"),
        node("p/a", "p", total_units=5, unit="x", job_id=JOB_IDS[0], trace_id="t", span_id="s"),
        log(
            "one\n\ttwo\\",
            timestamp=MOMENT_UNIX_NS - S,
            context={"a": None},
            traceback="t",
            performance={"x": 1},
        ),
        log("two", timestamp=MOMENT_UNIX_NS, level="ERROR", error_type="E", node_id="p", job_id=JOB_IDS[0]),
        event("e", details={"size_bytes": 5}),
        metric(memory_mb=-math.inf, cpu_percent=1e-300, custom_metrics={"n": 10**30}),
    ]
    shipper.ship(*reversed(rows[6:]))
    shipper.ship(*rows[:6])
    other = str(uuid.uuid4())
    shipper.ship(log("other", experiment_id=other), node("other")._replace(experiment_id=other))
    with source.snapshot(EXPERIMENT_ID) as snapshot:
        assert snapshot.error_count == 1
        found = list(snapshot.rows)
    assert [_comparable(row) for row in found] == [_comparable(stored(row)) for row in rows]


def _comparable(row: Row) -> tuple[Any, ...]:
    return (type(row).__name__, *(list(value) if isinstance(value, tuple) else value for value in row))


def test_a_snapshot_of_nothing(source: Source) -> None:
    """An unknown experiment has no rows."""
    for unknown in (str(uuid.uuid4()), "no uuid", ""):
        with source.snapshot(unknown) as snapshot:
            assert (snapshot.error_count, list(snapshot.rows)) == (0, [])


def test_other_questions_are_answered_during_a_snapshot(shipper: Shipper, source: Source) -> None:
    """A snapshot stays as of one instant, and keeps nobody from asking or writing."""
    shipper.ship(experiment(), node("p"), *(log(f"m{number}") for number in range(5000)))
    with source.snapshot(EXPERIMENT_ID) as snapshot:
        rows = iter(snapshot.rows)
        next(rows)
        shipper.ship(log("later"), node("p/later", "p"))
        assert source.logs(EXPERIMENT_ID, LogFilter(limit=1))[0].message == "later"
        rest = list(rows)
    assert [row.node_id for row in rest if isinstance(row, NodeRow)] == ["p"]
    assert len(rest) == 5001


def test_an_unknown_experiment_has_nothing(source: Source) -> None:
    """Readers get nothing, and no error, for an id that nobody has."""
    for unknown in ("31165f55-84a1-4a2b-9738-d8e89d701c6b", "not a uuid", "", "\x00"):
        assert source.events(unknown, limit=5, wanted=EventFilter(node_id="p")) == []
        assert source.metrics(unknown, limit=5, wanted=MetricFilter(after_id=0)) == []
        assert source.resource_timeline(unknown, points=5) == source.node_throughput(unknown) == []


def test_records_are_frozen(shipper: Shipper, source: Source) -> None:
    """Nobody changes what was read."""
    run(shipper, 1)
    (record, *_) = source.phase_history("train", "fit", limit=1)
    with pytest.raises(AttributeError):
        record.status = "failed"  # type: ignore[misc]
    assert asdict(record)["status"] == "completed"
