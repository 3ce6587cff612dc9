from __future__ import annotations

import mmap
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipespan.errors import UsageError
from pipespan.model.attributes import plain_text
from pipespan.model.rows import JobRow, MetricRow, NodeRow
from pipespan.record.node import Node
from pipespan.record.ticker import Ticker, TickerConfig
from tests.record.support import Recorded

NAN, INF = float("nan"), float("inf")


def last(recorded: Recorded, node_id: str = "run/s") -> NodeRow:
    return recorded.nodes()[node_id]


def test_progress_sets_and_advance_adds(recorded: Recorded) -> None:
    """Units, total and message are what was said last."""
    with recorded.pipeline() as run, run.step("s", unit="files") as step:
        step.progress(3, 10, "third")
        assert (step.completed, step.total) == (3, 10)
        step.advance()
        step.advance(2, "more")
        assert step.completed == 6
        step.progress(5)
        step.message("done")
    row = last(recorded)
    assert (row.completed_units, row.total_units, row.unit, row.message) == (5, 10, "files", "done")


@pytest.mark.parametrize(
    ("completed", "total", "expected", "is_odd"),
    [
        (-3, None, (0, None), True),
        (15, 10, (15, 10), False),
        (NAN, 10, (0, 10), True),
        (INF, 10, (0, 10), True),
        (-INF, NAN, (0, None), True),
        (3, 0, (3, 0), False),
        (3, -1, (3, 0), True),
        (2.9, 10.0, (2, 10), False),
        (2**70, 2**70, (2**63 - 1, 2**63 - 1), True),
        pytest.param(10**5000, None, (2**63 - 1, None), True, id="endless"),
        (Decimal("2.5"), Fraction(9, 2), (2, 4), False),
        (Decimal("NaN"), None, (0, None), True),
        (True, None, (1, None), False),
    ],
)
def test_odd_progress_is_bounded_and_noted(
    recorded: Recorded, completed: Any, total: Any, expected: tuple[int, int | None], is_odd: bool
) -> None:
    """Numbers that are no count never raise: the row holds something sane, the metadata what was given."""
    with recorded.pipeline() as run, run.step("s") as step:
        step.progress(completed, total)
    row = last(recorded)
    assert (row.completed_units, row.total_units) == expected
    assert ("odd_progress" in row.metadata) == is_odd
    assert recorded.troubles() == set()


def test_a_shrinking_total_is_taken(recorded: Recorded) -> None:
    """Work may turn out to be less."""
    with recorded.pipeline() as run, run.step("s", total=100) as step:
        step.progress(10, 50)
        step.progress(10, 20)
    assert last(recorded).total_units == 20


def test_odd_progress_is_noted_a_bounded_number_of_times(recorded: Recorded) -> None:
    """A loop that reports NaN a thousand times does not fill the row."""
    with recorded.pipeline() as run, run.step("s") as step:
        for _ in range(1000):
            step.progress(NAN)
    assert len(last(recorded).metadata["odd_progress"]) == 10


@pytest.mark.parametrize("wrong", ["5", "abc", b"5", [1], None, 1j, object()])
def test_progress_that_is_no_number_is_refused_at_once(recorded: Recorded, wrong: Any) -> None:
    """The programmer hears what to give instead."""
    with recorded.pipeline() as run, run.step("s") as step:
        if wrong is not None:
            with pytest.raises(UsageError, match="; count units"):
                step.progress(wrong)
            with pytest.raises(UsageError, match="; count units"):
                step.advance(wrong)
        with pytest.raises(UsageError, match="; count units"):
            step.progress(1, wrong if wrong is not None else "x")
        with pytest.raises(UsageError, match="; count units"):
            step.track([1], total=wrong if wrong is not None else "x")
    assert last(recorded).status == "completed"


def test_going_back_is_allowed_and_never_below_nothing(recorded: Recorded) -> None:
    """A retry takes units back; the row never holds less than none."""
    with recorded.pipeline() as run, run.step("s") as step:
        step.advance(5)
        step.advance(-2)
        assert step.completed == 3
        step.advance(-10)
    assert last(recorded).completed_units == 0


def test_advance_from_many_threads_is_exact(recorded: Recorded) -> None:
    """No unit gets lost between threads."""
    with recorded.pipeline() as run, run.step("s") as step:
        threads = [
            threading.Thread(target=lambda: [step.advance() for _ in range(2000)]) for _ in range(8)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert step.completed == 16000
    assert last(recorded).completed_units == 16000


# track


def some_iterables() -> list[tuple[str, Any, int | None]]:
    return [
        ("list", [1, 2, 3], 3), ("tuple", (1, 2, 3), 3), ("range", range(3), 3), ("dict", {1: 0, 2: 0, 3: 0}, 3),
        ("set", {1, 2, 3}, 3), ("string", "abc", 3), ("generator", (n for n in range(3)), None),
        ("iterator", iter([1, 2, 3]), None), ("values", {1: 0, 2: 0, 3: 0}.values(), 3), ("bytes", b"abc", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "items", "size"), some_iterables(), ids=[one[0] for one in some_iterables()]
)
def test_track_gives_the_items_and_counts_them(
    recorded: Recorded, kind: str, items: Any, size: int | None
) -> None:
    """Whatever is iterated, each item comes once, in order; the total is known where `len` tells it."""
    expected = list(items) if kind not in {"generator", "iterator"} else None
    with recorded.pipeline() as run, run.step("s") as step:
        got = []
        for number, item in enumerate(step.track(items, unit="things")):
            assert step.completed == number, "the item in hand is not done"
            got.append(item)
        assert step.completed == 3
    row = last(recorded)
    assert got == expected or expected is None
    assert len(got) == 3
    assert (row.completed_units, row.total_units, row.unit) == (3, size, "things")


@given(
    kind=st.sampled_from(["list", "tuple", "range", "generator", "dict"]),
    size=st.integers(0, 30),
    stop=st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_a_loop_that_breaks_counts_what_was_done(kind: str, size: int, stop: int) -> None:
    """After a break the item in hand is not counted; after the end all are."""
    recorded = Recorded()
    builders: dict[str, Any] = {
        "list": list, "tuple": tuple, "range": lambda some: some, "generator": iter, "dict": dict.fromkeys,
    }  # fmt: skip
    with recorded.pipeline() as run, run.step("s") as step:
        for item in step.track(builders[kind](range(size))):
            if item == stop:
                break
        assert step.completed == min(stop, size)
    assert last(recorded).completed_units == min(stop, size)


def test_an_exception_in_the_loop_counts_what_was_done(recorded: Recorded) -> None:
    """The item that failed is not done."""
    with pytest.raises(ZeroDivisionError), recorded.pipeline() as run, run.step("s") as step:
        for item in step.track([3, 2, 1, 0, 5]):
            1 / item
    row = last(recorded)
    assert (row.completed_units, row.total_units, row.status) == (3, 5, "failed")


def test_an_exception_of_the_iterable_passes_through(recorded: Recorded) -> None:
    """The loop sees what the generator raises."""

    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with recorded.pipeline() as run, run.step("s") as step, pytest.raises(ZeroDivisionError):
        list(step.track(items()))
    assert last(recorded).status == "completed"


def test_a_list_may_grow_while_it_is_iterated(recorded: Recorded) -> None:
    """A work list that is added to is counted right."""
    work = [1]
    with recorded.pipeline() as run, run.step("s") as step:
        for number, item in enumerate(step.track(work)):
            assert step.completed == number
            if item < 50:
                work.append(item + 1)
        assert step.completed == 50
        work.extend(range(100))
        assert step.completed == 50
    assert last(recorded).completed_units == 50


def test_a_generator_is_closed_when_the_loop_breaks(recorded: Recorded) -> None:
    """Tracking keeps no hold on a generator: its cleanup runs as soon as it would without."""
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    with recorded.pipeline() as run, run.step("s") as step:
        for item in step.track(items()):
            if item == 2:
                break
        assert closed == [True]


def test_changing_a_dict_while_it_is_tracked_raises_as_ever(recorded: Recorded) -> None:
    """Python's own complaint is the same."""
    items = {1: 1}
    with recorded.pipeline() as run, run.step("s") as step, pytest.raises(RuntimeError, match="changed size"):
        for item in step.track(items):
            items[item + 1] = 1


def test_sizes_that_cannot_be_told_are_unknown(recorded: Recorded) -> None:
    """A length that is too large for Python or that raises leaves the total open."""

    class Odd:
        def __len__(self) -> int:
            raise ZeroDivisionError

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

    with recorded.pipeline() as run:
        with run.step("s") as step:
            assert [item for item in step.track(Odd())] == [1, 2]  # noqa: C416 - `list` would ask for the length
        with run.step("t") as step:
            assert next(iter(step.track(range(10**30)))) == 0
    assert last(recorded).total_units is None
    assert recorded.nodes()["run/t"].total_units is None


@pytest.mark.parametrize(("total", "expected"), [(5, 5), (NAN, None), (-2, 0), (2**80, 2**63 - 1)])
def test_a_total_given_to_track_is_bounded(recorded: Recorded, total: Any, expected: int | None) -> None:
    """A total that is no count does not spoil the row."""
    with recorded.pipeline() as run, run.step("s") as step:
        list(step.track(iter([1]), total=total))
    assert last(recorded).total_units == expected


def test_two_loops_in_one_node_add_up(recorded: Recorded) -> None:
    """The second loop's items come on top, in units and in the total."""
    with recorded.pipeline() as run, run.step("s") as step:
        list(step.track(range(4)))
        assert (step.completed, step.total) == (4, 4)
        list(step.track(range(6)))
        assert (step.completed, step.total) == (10, 10)
        step.advance(1)
    assert last(recorded).completed_units == 11


def test_a_total_that_was_given_stays(recorded: Recorded) -> None:
    """A step that says 100 and loops twice over 50 has a total of 100."""
    with recorded.pipeline() as run, run.step("s", total=100) as step:
        list(step.track(range(50)))
        list(step.track(range(50)))
    row = last(recorded)
    assert (row.completed_units, row.total_units) == (100, 100)


def test_a_loop_in_a_loop_counts_both(recorded: Recorded) -> None:
    """Nested tracks of one node never count too little, and end at all of their items."""
    with recorded.pipeline() as run, run.step("s") as step:
        for _ in step.track([1, 2, 3]):
            for _ in step.track("ab"):
                pass
    assert last(recorded).completed_units == 9


def test_each_pass_over_a_track_counts(recorded: Recorded) -> None:
    """A track that is iterated twice, as a list may be, counts twice."""
    with recorded.pipeline() as run, run.step("s") as step:
        tracked = step.track([1, 2, 3])
        assert len(tracked) == 3
        assert list(tracked) == list(tracked) == [1, 2, 3]
        assert step.completed == 6


async def _letters(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield str(number)


def test_async_iterables_are_tracked_as_well(recorded: Recorded) -> None:
    """`async for` counts like `for`, to the end and with a break."""
    import asyncio

    async def work(step: Node, stop: str) -> None:
        async for item in step.track(_letters(5)):
            if item == stop:
                break

    with recorded.pipeline() as run:
        with run.step("s") as step:
            asyncio.run(work(step, "never"))
        with run.step("t", total=5) as step:
            asyncio.run(work(step, "3"))
    assert last(recorded).completed_units == 5
    row = recorded.nodes()["run/t"]
    assert (row.completed_units, row.total_units) == (3, 5)


# the thread that looks


def ticker_of(recorded: Recorded, **changes: float) -> Ticker:
    intervals = {"progress_s": 0.01, "sample_s": 1.0, "metrics_s": 10.0, "heartbeat_s": 5.0, **changes}
    return Ticker(recorded.recorder, TickerConfig(**intervals), Path.cwd())


def test_the_ticker_tells_progress_only_when_something_moved(recorded: Recorded) -> None:
    """A look writes one droppable row for each node that changed, and none for the others."""
    ticker = ticker_of(recorded)
    with recorded.pipeline() as run, run.step("s") as step, run.step("idle"):
        recorded.written.clear()
        step.advance(3)
        ticker.tick(time.monotonic())
        ticker.tick(time.monotonic())
        rows = [
            (row.node_id, row.completed_units, droppable)
            for row, droppable in recorded.written
            if isinstance(row, NodeRow)
        ]
        assert rows == [("run/s", 3, True)]
        step.message("now")
        ticker.tick(time.monotonic())
        assert recorded.rows(NodeRow)[-1].message == "now"
        for item in step.track(range(4)):
            ticker.tick(time.monotonic())
            assert recorded.rows(NodeRow)[-1].completed_units == 3 + item


def test_heartbeats_come_while_nothing_moves(recorded: Recorded) -> None:
    """Heartbeat and progress are two clocks: a job that stands still lives, and one that moves says when."""
    ticker = ticker_of(recorded)
    now = time.monotonic()
    with recorded.pipeline() as run:
        ticker.tick(now + 6)
        first = recorded.rows(JobRow)[-1]
        ticker.tick(now + 12)
        beat = recorded.rows(JobRow)[-1]
        assert beat.heartbeat_at > first.heartbeat_at
        assert beat.progress_at == first.progress_at
        assert beat.version > first.version
        run.advance()
        ticker.tick(now + 18)
        assert recorded.rows(JobRow)[-1].progress_at > first.progress_at
        count = len(recorded.rows(JobRow))
        ticker.tick(now + 12.1)
        assert len(recorded.rows(JobRow)) == count


def test_metrics_of_the_process_come_now_and_then(recorded: Recorded) -> None:
    """Samples carry memory, CPU and the throughput of the node that runs; 0 turns them off."""
    now = time.monotonic()
    ticker, silent = ticker_of(recorded), ticker_of(recorded, metrics_s=0.0)
    with recorded.pipeline() as run, run.step("s") as step:
        silent.tick(now + 100)
        assert recorded.rows(MetricRow) == []
        ticker.tick(now + 20)
        step.advance(50)
        ticker.tick(now + 30)
        ticker.tick(now + 31)
        first, second = recorded.rows(MetricRow)
        assert first.memory_mb is not None
        assert first.memory_mb > 1
        assert (first.throughput_per_sec, second.throughput_per_sec) == (None, 5.0)
        assert second.node_id == "run/s"


def test_the_tickers_thread_survives_a_bug(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a look fails it is told, and the next one happens."""
    ticker = ticker_of(recorded)
    with recorded.pipeline() as run:
        good, recorded_writes = recorded.write_line, len(recorded.written)
        monkeypatch.setattr(recorded, "write_line", lambda kind, line, droppable=False: 1 / 0)
        ticker.start()
        run.advance()
        deadline = time.monotonic() + 10
        while "ticker" not in recorded.troubles() and time.monotonic() < deadline:
            time.sleep(0.005)
        monkeypatch.setattr(recorded, "write_line", good)
        run.advance()
        while len(recorded.written) == recorded_writes and time.monotonic() < deadline:
            time.sleep(0.005)
        ticker.stop()
        assert recorded.rows(NodeRow)[-1].completed_units == 2


def test_nodes_note_what_the_process_used(recorded: Recorded) -> None:
    """Memory at start, end and peak, and the CPU time between, stand in each node's metadata."""
    ticker = ticker_of(recorded)
    with recorded.pipeline() as run, run.step("s", metadata={"a": 1}) as step:
        # Pages of the system's own: the heap of a long-lived process may have this much to spare.
        with mmap.mmap(-1, 60_000_000) as ballast:
            for start in range(0, len(ballast), mmap.PAGESIZE):
                ballast[start] = 1
            ticker.tick(time.monotonic() + 60)
        until = time.process_time() + 0.02
        while time.process_time() < until:
            sum(range(1000))
        step.set(b=2)
    metadata = last(recorded).metadata
    used = metadata["resources"]
    assert (metadata["a"], metadata["b"]) == (1, 2)
    assert used["memory_peak_bytes"] >= used["memory_start_bytes"] + 50_000_000
    assert used["memory_peak_bytes"] >= used["memory_end_bytes"] > 1_000_000
    assert used["cpu_ns"] == used["cpu_end_ns"] - used["cpu_start_ns"] >= 20_000_000


def test_a_node_tells_its_end_even_if_the_ticker_never_looked(recorded: Recorded) -> None:
    """Short steps lose no unit."""

    def work(step: Node, items: Iterable[int]) -> None:
        for _ in step.track(items):
            pass

    with recorded.pipeline() as run:
        for number in range(20):
            with run.step(f"s{number}") as step:
                work(step, range(number))
    assert [last(recorded, f"run/s{number}").completed_units for number in range(20)] == list(range(20))


DOINGS = st.one_of(
    st.tuples(st.just("advance"), st.integers(0, 9)),
    st.tuples(st.just("progress"), st.integers(0, 9), st.none() | st.integers(10, 20)),
    st.tuples(st.just("message"), st.text(max_size=3)),
    st.tuples(st.just("set"), st.integers(0, 9)),
    st.tuples(st.just("track"), st.integers(0, 4)),
    st.tuples(st.just("tell")),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "total": st.integers(0, 9), "unit": st.just("files"), "weight": st.just(2.0),
        "metadata": st.just({"a": 1}),
    },
)  # fmt: skip


@given(OPTIONS, st.lists(DOINGS, max_size=5), st.sampled_from([None, KeyError("k"), KeyboardInterrupt()]))
def test_rows_tell_all_that_was_said_of_a_node(
    options: dict[str, Any], done: list[tuple[Any, ...]], error: BaseException | None
) -> None:
    """Whatever is said of it, and whenever its rows are made, the last one tells it."""
    recorded, said = Recorded(), dict(options.get("metadata", {}))
    with recorded.pipeline() as run:
        scope = run.step("s", **options)
        node = scope.__enter__()
        for what, *values in done:
            if what == "tell":
                recorded.recorder.write_progress(node)
            elif what == "track":
                assert list(node.track(range(values[0]))) == list(range(values[0]))
            elif what == "set":
                node.set(b=values[0])
                said["b"] = values[0]
            else:
                getattr(node, what)(*values)
        units = (node.completed, node.total, node.unit, node.weight)
        message = node.text
        scope.__exit__(None if error is None else type(error), error, None)
    row = last(recorded)
    assert (row.completed_units, row.total_units, row.unit, row.weight) == units
    told = None if message is None else plain_text(message)
    assert row.message == (repr(error.args[0]) if isinstance(error, KeyError) else told)
    assert row.error_type == (None if error is None else type(error).__name__)
    assert {key: value for key, value in row.metadata.items() if key != "resources"} == said
    assert row.status == {"NoneType": "completed", "KeyError": "failed"}.get(
        type(error).__name__, "cancelled"
    )
