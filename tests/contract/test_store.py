"""What every store does: the same suite over the one in memory and over Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import pytest

from pipespan.errors import OffsetError, RefusedError
from pipespan.model.fingerprint import fingerprint
from pipespan.model.rows import LogRow, NodeRow
from pipespan.store.base import Batch, LogFilter, Sink, Source
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import (
    EXPERIMENT_ID,
    MOMENT_UNIX_NS,
    Shipper,
    batch_of,
    event,
    experiment,
    job,
    log,
    metric,
    new_key,
    node,
)

S = 1_000_000_000


@dataclass
class Store:
    sink: Sink
    source: Source


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Store(memory, memory)
        return
    dsn = request.getfixturevalue("dsn")
    both = Store(PostgresSink(dsn), PostgresSource(dsn))
    yield both
    both.sink.close()
    both.source.close()


@pytest.fixture
def shipper(store: Store) -> Shipper:
    return Shipper(store.sink)


def percents(store: Store) -> dict[str, float]:
    return {found.node_id: found.progress_percent for found in store.source.nodes(EXPERIMENT_ID)}


def test_an_experiment_comes_back_as_written(store: Store, shipper: Shipper) -> None:
    """Every field of the row is in the record; times keep microseconds."""
    shipper.ship(experiment())
    (found,) = store.source.experiments(limit=10)
    assert (found.id, found.name, found.status) == (EXPERIMENT_ID, "train", "running")
    assert found.params == {"lr": 0.1}
    assert list(found.tags) == ["a", "b c"]
    assert (found.command, found.host, found.user_name, found.git_commit) == ("train.py", "h", "u", "c0ffee")
    assert found.started_at == datetime(2025, 10, 9, 8, 53, 20, 123456, tzinfo=timezone.utc)
    assert (found.ended_at, found.attempt, found.version, found.error_count) == (None, 1, 1, 0)
    assert found.created_at.tzinfo is not None


def test_a_job_comes_back_as_written(store: Store, shipper: Shipper) -> None:
    """Every field of the row is in the record, and jobs come by start time."""
    late, early = str(uuid.uuid4()), str(uuid.uuid4())
    shipper.ship(
        experiment(),
        job(late, started_at=MOMENT_UNIX_NS + S),
        job(early, exit_code=-9, evidence={"why": ["oom"]}),
    )
    first, second = store.source.jobs(EXPERIMENT_ID)
    assert (first.id, second.id) == (early, late)
    assert (first.exit_code, first.evidence, first.pid) == (-9, {"why": ["oom"]}, 42)
    assert list(first.log_messages) == ["one", 'two "quoted"']


def test_parents_follow_their_children_over_all_levels(store: Store, shipper: Shipper) -> None:
    """A parent without own units has the weighted mean of its children, ended ones counting whole."""
    shipper.ship(
        experiment(),
        node("p"),
        node("p/a", "p"),
        node("p/b", "p", weight=3.0, status="failed", completed_units=1, total_units=4),
        node("p/a/x", "p/a", completed_units=1, total_units=3),
        node("p/a/y", "p/a", status="pending", start_time=None),
    )
    assert percents(store) == {
        "p": 79.1666666,
        "p/a": 16.6666666,
        "p/b": 25.0,
        "p/a/x": 33.3333333,
        "p/a/y": 0.0,
    }
    root = next(found for found in store.source.nodes(EXPERIMENT_ID) if found.node_id == "p")
    assert (root.child_weight, root.child_sum) == (4000, 1000 * 166_666_666 + 3000 * 10**9)


def test_a_failed_parent_shows_what_was_reached(store: Store, shipper: Shipper) -> None:
    """While it runs, ended children count whole; once it broke off, each child counts as far as it came."""
    rows = [
        node("p/a", "p"),
        node("p/a/x", "p/a", status="completed"),
        node("p/a/y", "p/a", status="failed", completed_units=1, total_units=4),
        node("p/b", "p", status="cancelled"),
    ]
    shipper.ship(experiment(), node("p"), *rows)
    assert percents(store) == {"p": 100.0, "p/a": 100.0, "p/b": 0.0, "p/a/x": 100.0, "p/a/y": 25.0}
    shipper.ship(node("p", status="failed", version=2))
    assert percents(store)["p"] == 31.25
    shipper.ship(node("p/a/y", "p/a", attempt=2, completed_units=3, total_units=4))
    assert percents(store)["p"] == 43.75
    assert percents(store)["p/a"] == 87.5


def test_own_units_win_over_children_and_completed_over_all(store: Store, shipper: Shipper) -> None:
    """A total of its own decides a node's percent; units beyond it are clamped; completed is 100."""
    shipper.ship(
        experiment(),
        node("p", completed_units=1, total_units=2),
        node("p/a", "p", completed_units=9, total_units=4),
        node("p/b", "p", completed_units=-5, total_units=4),
        node("p/c", "p", status="completed", completed_units=1, total_units=4),
        node("p/d", "p", completed_units=7, total_units=0),
    )
    assert percents(store) == {"p": 50.0, "p/a": 100.0, "p/b": 0.0, "p/c": 100.0, "p/d": 0.0}


def test_a_parent_that_comes_after_its_children_has_their_sums(store: Store, shipper: Shipper) -> None:
    """The order of arrival does not matter, not even over three levels."""
    shipper.ship(node("p/a/x", "p/a", status="completed"))
    shipper.ship(node("p", completed_units=0))
    assert percents(store) == {"p/a/x": 100.0, "p": 0.0}
    shipper.ship(node("p/a", "p"))
    assert percents(store) == {"p/a/x": 100.0, "p": 100.0, "p/a": 100.0}


def test_a_moved_node_counts_only_in_its_new_parent(store: Store, shipper: Shipper) -> None:
    """A new parent and a new weight are taken off the old parent's sums."""
    shipper.ship(node("a"), node("b"), node("x", "a", status="completed"), node("y", "a"))
    shipper.ship(node("x", "b", status="completed", version=2, weight=2.5))
    sums = {
        found.node_id: (found.child_weight, found.child_sum) for found in store.source.nodes(EXPERIMENT_ID)
    }
    assert sums["a"] == (1000, 0)
    assert sums["b"] == (2500, 2500 * 10**9)


def test_a_child_may_leave_a_parent_that_comes_in_the_same_batch(store: Store, shipper: Shipper) -> None:
    """What a node gave to a parent that nobody knew yet is not taken off it afterwards."""
    shipper.ship(node("x", "late", status="completed"))
    shipper.ship(node("late", "p"), node("x", "p", status="completed", version=2), node("p"))
    found = {row.node_id: (row.child_weight, row.child_sum) for row in store.source.nodes(EXPERIMENT_ID)}
    assert found == {"x": (0, 0), "late": (0, 0), "p": (2000, 1000 * 10**9)}


@pytest.mark.parametrize(
    "weight", [0.0, -1.0, float("nan"), float("inf"), 1e300, 0.0004, 0.0005, 0.0015, 2.6665]
)
def test_any_weight_is_taken(store: Store, shipper: Shipper, weight: float) -> None:
    """What is no positive finite number counts nothing; the rest counts in thousandths, up to a bound."""
    shipper.ship(node("p"), node("p/a", "p", weight=weight, status="completed"))
    found = {row.node_id: row for row in store.source.nodes(EXPERIMENT_ID)}
    expected = {1e300: 10**12, 0.0015: 2, 2.6665: 2666}.get(weight, 0)
    assert found["p"].child_weight == expected
    assert found["p"].progress_percent == (100.0 if expected else 0.0)


def test_a_tree_200_deep_adds_up(store: Store, shipper: Shipper) -> None:
    """What happens at the bottom arrives at the top."""
    chain = [f"n{depth}" for depth in range(200)]
    shipper.ship(*(node(name, parent) for name, parent in zip(chain, [None, *chain[:-1]], strict=True)))
    shipper.ship(node(chain[-1], chain[-2], completed_units=1, total_units=4, version=2))
    assert set(percents(store).values()) == {25.0}


def test_higher_version_wins_and_terminal_is_final(store: Store, shipper: Shipper) -> None:
    """Late progress neither reopens nor moves an ended node; the next attempt does."""
    shipper.ship(node("p", completed_units=3, total_units=4, version=5))
    shipper.ship(node("p", completed_units=1, total_units=4, version=4))
    assert percents(store) == {"p": 75.0}
    shipper.ship(node("p", status="failed", completed_units=3, total_units=4, version=6))
    shipper.ship(node("p", completed_units=4, total_units=4, version=9))
    assert store.source.nodes(EXPERIMENT_ID)[0].status == "failed"
    shipper.ship(node("p", completed_units=0, total_units=4, attempt=2, version=1))
    assert store.source.nodes(EXPERIMENT_ID)[0].status == "running"


def test_equal_ranks_keep_what_is_known(store: Store, shipper: Shipper) -> None:
    """The same version again changes nothing, in one batch or in two."""
    shipper.ship(node("p", message="first"), node("p", message="second"))
    shipper.ship(node("p", message="third"))
    assert store.source.nodes(EXPERIMENT_ID)[0].message == "first"


def test_rows_may_come_before_their_experiment(store: Store, shipper: Shipper) -> None:
    """A stub stands for the experiment until its own row arrives, and then gives way, also to a stub by name."""
    shipper.ship(node("p"), log("bad", level="ERROR"))
    (stub,) = store.source.experiments(limit=10)
    assert (stub.id, stub.name, stub.error_count) == (EXPERIMENT_ID, EXPERIMENT_ID, 1)
    shipper.ship(experiment(name="named", attempt=0, version=0))
    shipper.ship(experiment(attempt=0, version=0))
    assert store.source.experiments(limit=10)[0].name == "named"
    shipper.ship(experiment())
    (found,) = store.source.experiments(limit=10)
    assert (found.name, found.attempt, found.error_count) == ("train", 1, 1)
    assert found.created_at == stub.created_at


def test_open_nodes_are_those_of_one_job_that_are_not_over(store: Store, shipper: Shipper) -> None:
    """Pending and running ones of that job, in the order of all nodes."""
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    shipper.ship(
        experiment(),
        node("p", job_id=mine),
        node("p/ended", "p", job_id=mine, status="failed"),
        node("p/planned", "p", job_id=mine, status="pending", start_time=None),
        node("p/others", "p", job_id=other),
    )
    found = store.source.open_nodes(EXPERIMENT_ID, mine)
    assert [one.node_id for one in found] == ["p", "p/planned"]
    assert store.source.open_nodes(EXPERIMENT_ID, str(uuid.uuid4())) == []


def test_nodes_come_by_start_then_by_arrival(store: Store, shipper: Shipper) -> None:
    """Unstarted nodes are last, in the order in which they were planned."""
    planned = [node(name, "p", status="pending", start_time=None) for name in ("p/load", "p/fit", "p/audit")]
    shipper.ship(node("p", start_time=MOMENT_UNIX_NS + 2 * S), *planned)
    shipper.ship(node("p/zero", "p", start_time=MOMENT_UNIX_NS + S))
    assert list(percents(store)) == ["p/zero", "p", "p/load", "p/fit", "p/audit"]


def test_a_batch_again_is_told_where_the_ledger_stands(store: Store, shipper: Shipper) -> None:
    """A replayed batch writes nothing and learns the offset; so does one that leaves a gap."""
    batch = shipper.ship(log("once", level="ERROR"))
    assert store.sink.offset(shipper.key) == batch.end_bytes
    with pytest.raises(OffsetError) as caught:
        store.sink.ship(batch)
    assert caught.value.shipped_bytes == batch.end_bytes
    other = new_key()
    with pytest.raises(OffsetError) as caught:
        store.sink.ship(batch_of([log()], other, start_bytes=7))
    assert (caught.value.shipped_bytes, store.sink.offset(other)) == (0, 0)
    assert len(store.source.logs(EXPERIMENT_ID, LogFilter())) == 1
    assert store.source.experiments(limit=1)[0].error_count == 1


def test_several_batches_are_shipped_all_or_none(store: Store, shipper: Shipper) -> None:
    """Lanes of one stream and of others, rows of all tables; one that cannot be shipped keeps the others back."""
    shipper.ship(experiment(), node("p"))
    job_id = str(uuid.uuid4())
    batches = [
        batch_of([job(job_id), node("p/a", "p"), log("one", level="ERROR")], new_key()),
        batch_of([node("p/a", "p", version=5, status="completed"), log("two"), event()], new_key()),
        batch_of([log("three", level="CRITICAL"), metric()], new_key()),
    ]
    elsewhere = batch_of([log("four")], new_key(), start_bytes=7)
    with pytest.raises(OffsetError) as caught:
        store.sink.ship(*batches, elsewhere)
    assert caught.value.shipped_bytes == 0
    refused = batch_of([log("five")], new_key())
    refused = replace(refused, lines={LogRow: [b"no log\n"]})
    with pytest.raises(RefusedError):
        store.sink.ship(*batches, refused)
    assert [store.sink.offset(batch.key) for batch in batches] == [0, 0, 0]
    assert store.source.logs(EXPERIMENT_ID, LogFilter()) == []
    store.sink.ship(*batches)
    assert [store.sink.offset(batch.key) for batch in batches] == [batch.end_bytes for batch in batches]
    assert {found.message for found in store.source.logs(EXPERIMENT_ID, LogFilter())} == {
        "one",
        "two",
        "three",
    }
    assert {found.node_id: found.status for found in store.source.nodes(EXPERIMENT_ID)} == {
        "p": "running",
        "p/a": "completed",
    }
    assert [found.id for found in store.source.jobs(EXPERIMENT_ID)] == [job_id]
    assert store.source.experiments(limit=1)[0].error_count == 2
    with pytest.raises(OffsetError):
        store.sink.ship(*reversed(batches))
    assert len(store.source.logs(EXPERIMENT_ID, LogFilter())) == 3


def test_lanes_of_a_stream_have_their_own_offsets(store: Store) -> None:
    """What one lane ships does not move the other."""
    keep = new_key()
    bulk = replace(keep, lane="bulk")
    Shipper(store.sink, keep).ship(log("kept"))
    Shipper(store.sink, bulk).ship(log("in bulk"))
    assert {found.message for found in store.source.logs(EXPERIMENT_ID, LogFilter())} == {"kept", "in bulk"}


@pytest.mark.parametrize(
    "poison",
    [
        node("p", completed_units=2**63),
        node("p", status="odd"),  # type: ignore[arg-type]  # what a broken writer might send
        node("p" * 256),
        log(level="LOUD"),
        log(experiment_id="not-a-uuid"),
        event(severity="LOUD"),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_refused_batch_leaves_nothing(store: Store, shipper: Shipper, poison: NodeRow | LogRow) -> None:
    """One row that cannot be stored keeps the whole batch out, ledger included; the next batch goes on."""
    with pytest.raises(RefusedError):
        shipper.ship(experiment(), node("good"), log("good", level="ERROR"), poison)
    assert store.sink.offset(shipper.key) == 0
    assert store.source.experiments(limit=10) == []
    assert store.source.nodes(EXPERIMENT_ID) == []
    assert store.source.logs(EXPERIMENT_ID, LogFilter()) == []
    shipper.ship(node("good"))
    assert percents(store) == {"good": 0.0}


@pytest.mark.parametrize("line", [b"too\tfew\n", b"\xff\xfe\n", b"\n"])
def test_a_broken_line_is_refused(store: Store, line: bytes) -> None:
    """A line that is none is refused and not taken for a lost connection."""
    key = new_key()
    with pytest.raises(RefusedError):
        store.sink.ship(Batch(key, 0, len(line), {LogRow: [line]}))
    assert store.sink.offset(key) == 0


def test_logs_are_filtered_and_in_order_of_time(store: Store, shipper: Shipper) -> None:
    """Level means at least; text is literal and ignores case; a node takes in what is below it."""
    shipper.ship(
        node("p"),
        node("keyed", "p"),
        log("third", timestamp=MOMENT_UNIX_NS + 3 * S, level="WARNING", node_id="p/early"),
        log("First 100%_\\", timestamp=MOMENT_UNIX_NS + S, node_id="keyed"),
        log("second", timestamp=MOMENT_UNIX_NS + 2 * S, level="ERROR", traceback="Boom at 7", node_id="pq"),
        log("other experiment", experiment_id=str(uuid.uuid4())),
    )

    def messages(wanted: LogFilter) -> list[str]:
        return [found.message for found in store.source.logs(EXPERIMENT_ID, wanted)]

    assert messages(LogFilter()) == ["First 100%_\\", "second", "third"]
    assert messages(LogFilter(limit=2)) == ["second", "third"]
    assert messages(LogFilter(limit=0)) == []
    assert messages(LogFilter(level="WARNING")) == ["second", "third"]
    assert messages(LogFilter(contains="fIRST 100%_\\")) == ["First 100%_\\"]
    assert messages(LogFilter(contains="%")) == ["First 100%_\\"]
    assert messages(LogFilter(contains="boom")) == ["second"]
    assert messages(LogFilter(contains="\x00\ud800")) == []
    assert messages(LogFilter(node_id="p")) == ["First 100%_\\", "third"]
    assert messages(LogFilter(node_id="keyed")) == ["First 100%_\\"]
    assert messages(LogFilter(node_id="nobody")) == []


def test_following_gives_each_record_once(store: Store, shipper: Shipper) -> None:
    """With the last id as cursor all records come, oldest first, whatever their time says."""
    shipper.ship(*(log(f"m{number}", timestamp=MOMENT_UNIX_NS - number * S) for number in range(5)))
    seen: list[str] = []
    cursor = 0
    while found := store.source.logs(EXPERIMENT_ID, LogFilter(after_id=cursor, limit=2)):
        seen += [record.message for record in found]
        cursor = found[-1].id
    assert seen == ["m0", "m1", "m2", "m3", "m4"]
    shipper.ship(log("m5"))
    (newer,) = store.source.logs(EXPERIMENT_ID, LogFilter(after_id=cursor))
    assert newer.message == "m5"


def test_a_log_comes_back_as_written(store: Store, shipper: Shipper) -> None:
    """Every field of the row is in the record."""
    job_id = str(uuid.uuid4())
    row = log(
        "line one\nline two\t\\",
        job_id=job_id,
        node_id="p/a",
        level="CRITICAL",
        severity_number=21,
        context={"k": [1, None]},
        traceback="Traceback",
        error_type="ValueError",
        performance={"seconds": 0.5},
        trace_id="t",
        span_id="s",
    )
    shipper.ship(row)
    (found,) = store.source.logs(EXPERIMENT_ID, LogFilter())
    for name in ("experiment_id", "job_id", "node_id", "level", "severity_number", "logger_name", "message"):
        assert getattr(found, name) == getattr(row, name)
    for name in ("context", "traceback", "error_type", "performance", "trace_id", "span_id"):
        assert getattr(found, name) == getattr(row, name)
    assert found.timestamp == datetime(2025, 10, 9, 8, 53, 20, 123456, tzinfo=timezone.utc)


def test_errors_are_counted_and_grouped(store: Store, shipper: Shipper) -> None:
    """Errors of one cause make a group; the most frequent comes first, with its first and its last record."""

    def error(message: str, at: int, node_id: str | None, error_type: str | None = "ValueError") -> LogRow:
        return log(
            message, timestamp=MOMENT_UNIX_NS + at * S, level="ERROR", node_id=node_id, error_type=error_type
        )

    shipper.ship(
        experiment(),
        error("bad line 3\nfile 3", 3, "p/parse/f3"),
        error("bad line 1\nfile 1", 1, "p/parse/f1"),
        error("bad line 2\nfile 2", 2, "p/parse/f2"),
        error("bad file", 0, "p/load"),
        error("", 4, None, None),
        log("no error"),
    )
    groups = store.source.error_groups(EXPERIMENT_ID, limit=10)
    assert [(found.error_type, found.stage, found.message, found.count) for found in groups] == [
        ("ValueError", "parse", "bad line 3", 3),
        ("ValueError", "load", "bad file", 1),
        (None, None, "", 1),
    ]
    assert groups[0].first_seen_log.message == "bad line 1\nfile 1"
    assert groups[0].last_seen_log.message == "bad line 3\nfile 3"
    assert [found.fingerprint for found in groups] == [found.first_seen_log.fingerprint for found in groups]
    assert groups[0].fingerprint == fingerprint("ValueError", "bad line 8", None)
    assert [
        found.fingerprint for found in store.source.logs(EXPERIMENT_ID, LogFilter(contains="no error"))
    ] == [None]
    assert len(store.source.error_groups(EXPERIMENT_ID, limit=1)) == 1
    assert store.source.error_counts(EXPERIMENT_ID) == {
        "p/parse/f1": 1,
        "p/parse/f2": 1,
        "p/parse/f3": 1,
        "p/load": 1,
        None: 1,
    }
    assert store.source.experiments(limit=1)[0].error_count == 5


def test_logs_of_a_stretch_of_time(store: Store, shipper: Shipper) -> None:
    """`since` is inclusive and `until` exclusive; both go with a cursor too."""
    shipper.ship(*(log(f"m{at}", timestamp=MOMENT_UNIX_NS + at * S) for at in range(5)))
    everything = store.source.logs(EXPERIMENT_ID, LogFilter())
    since, until = everything[1].timestamp, everything[3].timestamp

    def found(wanted: LogFilter) -> list[str]:
        return [one.message for one in store.source.logs(EXPERIMENT_ID, wanted)]

    assert found(LogFilter(since=since, until=until)) == ["m1", "m2"]
    assert found(LogFilter(since=since, limit=1)) == ["m4"]
    assert found(LogFilter(until=until, after_id=everything[0].id, limit=1)) == ["m1"]
    assert found(LogFilter(since=until, until=since)) == []


def test_newest_events_and_metrics_in_order_of_time(store: Store, shipper: Shipper) -> None:
    """The limit keeps the newest; what comes back is in order of time."""
    shipper.ship(
        *(event(f"e{at}", timestamp=MOMENT_UNIX_NS + at * S, details={"at": at}) for at in (2, 0, 1)),
        *(metric(memory_mb=float(at), timestamp=MOMENT_UNIX_NS + at * S) for at in (1, 2, 0)),
    )
    assert [found.title for found in store.source.events(EXPERIMENT_ID, limit=2)] == ["e1", "e2"]
    assert [found.memory_mb for found in store.source.metrics(EXPERIMENT_ID, limit=2)] == [1.0, 2.0]
    (newest,) = store.source.events(EXPERIMENT_ID, limit=1)
    assert (newest.details, newest.event_type, newest.severity) == ({"at": 2}, "note", "INFO")


def test_experiments_are_found_by_name_id_and_prefix(store: Store, shipper: Shipper) -> None:
    """Newest first; patterns and odd texts are taken literally; unknown references find nothing."""
    ids = [f"{number}aaaaaaa-0000-4000-8000-000000000000" for number in range(3)]
    shipper.ship(
        *(experiment(found, name="same", started_at=MOMENT_UNIX_NS + at * S) for at, found in enumerate(ids))
    )

    def find(reference: str, limit: int = 10) -> list[str]:
        return [found.id for found in store.source.find_experiments(reference, limit=limit)]

    assert find("same") == ids[::-1]
    assert find("same", limit=1) == ids[2:]
    assert find(ids[1]) == find("1AAA") == find("1") == [ids[1]]
    for unknown in ("", "%", "9", "sam", "\x00", "\ud800", "x" * 10_000):
        assert find(unknown) == []
    assert [found.id for found in store.source.experiments(limit=2)] == ids[:0:-1]


@pytest.mark.parametrize("unknown", ["31165f55-84a1-4a2b-9738-d8e89d701c6b", "not a uuid", "", "\x00"])
def test_an_unknown_experiment_is_empty(store: Store, unknown: str) -> None:
    """Readers get nothing, and no error, for an id that nobody has."""
    source = store.source
    assert source.jobs(unknown) == source.nodes(unknown) == source.logs(unknown, LogFilter()) == []
    assert source.error_groups(unknown, limit=5) == source.events(unknown, limit=5) == []
    assert source.metrics(unknown, limit=5) == []
    assert dict(source.error_counts(unknown)) == {}
