from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import pytest

from pipespan.errors import StoreUnavailableError
from pipespan.model.rows import Row
from pipespan.spool.notices import Notices
from pipespan.spool.shipper import Shipper
from pipespan.spool.shipping import ShipperConfig
from pipespan.spool.turns import HURRIES
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Batch, Sink
from tests.fixtures import rows
from tests.fixtures.waiting import wait_for
from tests.spool.support import TARGET, Fault, ScriptedSink, new_writer

DEADLINE_S = 10.0


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = new_writer(tmp_path)
    yield writer
    if (stream := writer.close()) is not None:
        stream.close()


@pytest.fixture
def start(tmp_path: Path, writer: SpoolWriter) -> Iterator[Callable[..., Shipper]]:
    """Start shippers that are stopped whatever happens; fail when one of their threads ends by an exception."""
    started: list[Shipper] = []
    escaped: list[object] = []
    before = threading.excepthook
    threading.excepthook = escaped.append

    def build(
        open_sink: Callable[[], Sink], interval_s: float = 0.01, prepare: Callable[[], None] = lambda: None,
        is_watched: Callable[[], bool] = bool, leaves_rest: bool = False,
    ) -> Shipper:  # fmt: skip
        config = ShipperConfig(
            (tmp_path,), TARGET, interval_s, 1 << 20, is_watched=is_watched, leaves_rest=leaves_rest
        )
        shipper = Shipper(config, writer, open_sink, Notices(), prepare=prepare)
        started.append(shipper)
        shipper.start()
        return shipper

    yield build
    for shipper in started:
        shipper.stop(0.2)
    threading.excepthook = before
    assert escaped == []


def test_rows_arrive_without_being_asked_for(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """What is written is in the store soon, and is counted."""
    sink = ScriptedSink()
    shipper = start(lambda: sink)
    for _ in range(5):
        writer.write(rows.event())
    wait_for(lambda: len(sink.lines.get("keep", ())) == 5)
    wait_for(lambda: shipper.tally.rows == 5)
    assert shipper.last_error is None


def test_what_opening_needs_is_loaded_before_there_is_a_row(
    writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """Early in the program, in the shipper's thread; what goes wrong there holds up nothing that can be shipped."""
    sink, called = ScriptedSink(), threading.Event()

    def prepare() -> None:
        called.set()
        raise ImportError("no driver")

    shipper = start(lambda: sink, prepare=prepare)
    assert called.wait(10)
    writer.write(rows.event())
    assert shipper.flush(10)
    assert len(sink.lines["keep"]) == 1
    assert shipper.last_error is None


def test_the_first_round_waits_for_its_turn(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """Workers that start together ship together; whoever cannot wait flushes."""
    sink = ScriptedSink()
    writer.write(rows.event())
    shipper = start(lambda: sink, interval_s=60.0)
    time.sleep(0.2)
    assert sink.calls == 0
    assert shipper.flush(DEADLINE_S)
    assert len(sink.lines["keep"]) == 1


def has_lines(sink: ScriptedSink, count: int) -> bool:
    return len(sink.lines.get("bulk", ())) == count


def test_who_hurries_has_a_round_at_once(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """Without waiting for it, and not more often than there is an allowance for: a loop may hurry all the time."""
    sink = ScriptedSink()
    shipper = start(lambda: sink, interval_s=60.0)
    writer.write(rows.event())
    shipper.hurry()
    time.sleep(0.2)
    assert sink.calls == 0, "the first round waits for its turn"
    assert shipper.flush(DEADLINE_S)
    for number in range(HURRIES):
        writer.write(rows.log(str(number)))
        shipper.hurry()
        wait_for(partial(has_lines, sink, number + 1))
    writer.write(rows.log("the last one"))
    shipper.hurry()
    time.sleep(0.2)
    assert len(sink.lines["bulk"]) == HURRIES
    assert shipper.flush(DEADLINE_S)


def test_nobody_hurries_to_a_store_that_is_away(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """The next try comes when the pause after the last one is over."""
    sink = ScriptedSink(schedule=repeat("away"))
    shipper = start(lambda: sink)
    writer.write(rows.event())
    wait_for(lambda: shipper.last_error is not None and sink.calls > 4)
    before = sink.calls
    for _ in range(50):
        shipper.hurry()
        time.sleep(0.002)
    assert sink.calls <= before + 1


def test_flush_returns_when_all_that_was_written_before_is_shipped(
    writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """After a flush that says yes every earlier row is in the store."""
    sink = ScriptedSink()
    shipper = start(lambda: sink, interval_s=5.0)
    for number in range(30):
        writer.write(rows.log(str(number)))
        if number % 3 == 0:
            assert shipper.flush(DEADLINE_S)
            assert len(sink.lines["bulk"]) == number + 1


def test_the_connection_is_opened_only_when_there_is_something_to_ship(start: Callable[..., Shipper]) -> None:
    """A pipeline that records nothing needs no database."""

    def never() -> Sink:
        raise AssertionError("opened for nothing")

    shipper = start(never)
    assert shipper.flush(DEADLINE_S)
    assert shipper.stop(DEADLINE_S)


def test_an_outage_is_told_once_and_ends_by_itself(
    writer: SpoolWriter, start: Callable[..., Shipper], capsys: pytest.CaptureFixture[str]
) -> None:
    """While the store is away rows wait, one line says so, and all arrive when it is back, through a new connection."""
    opened: list[ScriptedSink] = []
    ledger = ScriptedSink()
    is_back = threading.Event()

    def open_sink() -> Sink:
        if not is_back.is_set():
            opened.append(ScriptedSink(repeat("away")))
            return opened[-1]
        return ledger

    writer.write(rows.event())
    shipper = start(open_sink)
    wait_for(lambda: shipper.last_error is not None)
    assert not shipper.flush(0.2)
    is_back.set()
    wait_for(lambda: len(ledger.lines.get("keep", ())) == 1)
    wait_for(lambda: shipper.last_error is None)
    assert all(sink.is_closed for sink in opened)
    assert capsys.readouterr().err.count("the server is away") == 1


def test_no_exception_ends_the_thread(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """Whatever a sink raises, from whatever call, the next round tries again."""

    class Broken(ScriptedSink):
        def ship(self, *batches: Batch) -> None:
            raise ZeroDivisionError

        def close(self) -> None:
            raise RuntimeError("cannot even close")

    good = ScriptedSink()
    openings: Iterator[Sink | BaseException] = iter(
        [RuntimeError("cannot open"), Broken(), MemoryError(), good]
    )

    def open_sink() -> Sink:
        found = next(openings)
        if isinstance(found, BaseException):
            raise found
        return found

    writer.write(rows.event())
    shipper = start(open_sink)
    wait_for(lambda: len(good.lines.get("keep", ())) == 1)
    assert shipper.stop(DEADLINE_S)
    assert good.is_closed


def test_stop_ships_what_is_left(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """Rows written just before the end arrive, however long the interval."""
    sink = ScriptedSink()
    shipper = start(lambda: sink, interval_s=60.0)
    for _ in range(100):
        writer.write(rows.log())
    assert shipper.stop(DEADLINE_S)
    assert len(sink.lines["bulk"]) == 100


def test_stop_waits_out_a_short_outage(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """A database that comes back within the exit timeout gets everything."""
    sink = ScriptedSink(chain(repeat("away", 3), repeat("ok")))
    writer.write(rows.event())
    shipper = start(lambda: sink)
    assert shipper.stop(DEADLINE_S)
    assert len(sink.lines["keep"]) == 1


def test_stop_keeps_its_time_with_a_store_that_is_away(
    writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """The end of the program is not held up longer than allowed, and is told that rows are left."""

    def away() -> Sink:
        raise StoreUnavailableError("nobody there")

    writer.write(rows.event())
    shipper = start(away)
    before = time.monotonic()
    assert not shipper.stop(0.3)
    assert time.monotonic() - before < 1.0


def test_flush_and_stop_keep_their_time_with_a_frozen_store(
    writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """A call that never returns blocks our thread and nobody else: writing goes on, flush and stop give up in time."""
    melted = threading.Event()

    class Frozen(ScriptedSink):
        def ship(self, *batches: Batch) -> None:
            melted.wait(DEADLINE_S)
            super().ship(*batches)

    sink = Frozen()
    writer.write(rows.event())
    shipper = start(lambda: sink)
    before = time.monotonic()
    assert not shipper.flush(0.2)
    for _ in range(100):
        writer.write(rows.log())
    assert not shipper.stop(0.2)
    assert time.monotonic() - before < 1.5
    melted.set()
    wait_for(lambda: not shipper._thread.is_alive())


def test_stop_keeps_its_time_with_a_slow_store(writer: SpoolWriter, start: Callable[..., Shipper]) -> None:
    """With much left and a slow store the last batches wait for the next process."""

    class Slow(ScriptedSink):
        def ship(self, *batches: Batch) -> None:
            time.sleep(0.05)
            super().ship(*batches)

    big = "x" * 600_000
    for _ in range(40):
        writer.write(rows.log(big))
    shipper = start(Slow, interval_s=60.0)
    before = time.monotonic()
    assert not shipper.stop(0.3)
    assert time.monotonic() - before < 1.5
    assert writer.waiting_bytes() > 0


def test_flush_says_no_while_rows_are_in_memory_only(
    tmp_path: Path, start: Callable[..., Shipper], writer: SpoolWriter
) -> None:
    """Rows that no folder can take are not in the store while that is away, and flush does not claim so."""
    (tmp_path / "file").touch()
    writer._spool_dirs = (tmp_path / "file" / "spool",)
    writer.write(rows.event())
    shipper = start(lambda: ScriptedSink(repeat("away")))
    assert not shipper.flush(0.3)
    assert not shipper.stop(0.2)


@pytest.mark.parametrize("faults", [[], ["lost answer"], ["away", "lost answer", "lost answer", "away"]])
def test_rows_that_no_folder_takes_are_shipped_from_memory(
    tmp_path: Path, start: Callable[..., Shipper], writer: SpoolWriter, faults: list[Fault]
) -> None:
    """Exactly once, whatever answers are lost; the store is all that they need."""
    (tmp_path / "file").touch()
    writer._spool_dirs = (tmp_path / "file" / "spool",)
    for number in range(100):
        writer.write(rows.log(message=f"number {number}"))
    sink = ScriptedSink(iter(faults))
    shipper = start(lambda: sink)
    assert shipper.flush(DEADLINE_S)
    (lines,) = sink.lines.values()
    assert len(lines) == len(set(lines)) == 100
    assert shipper.tally.rows == 100
    assert shipper.stop(DEADLINE_S)


def test_a_row_that_is_refused_from_memory_does_not_hold_up_the_others(
    tmp_path: Path, start: Callable[..., Shipper], writer: SpoolWriter
) -> None:
    """It is counted as rejected; all others arrive."""
    (tmp_path / "file").touch()
    writer._spool_dirs = (tmp_path / "file" / "spool",)
    for number in range(50):
        writer.write(
            rows.log(message=f"number {number} poison" if number in {0, 17, 49} else f"number {number}")
        )
    sink = ScriptedSink(refuses=lambda line: b"poison" in line)
    shipper = start(lambda: sink)
    assert shipper.flush(DEADLINE_S)
    (lines,) = sink.lines.values()
    assert len(lines) == len(set(lines)) == 47
    assert (shipper.tally.rows, shipper.tally.rejected) == (47, 3)
    assert shipper.stop(DEADLINE_S)


def test_flush_waits_for_a_slow_store_and_not_for_one_that_is_away(
    writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """A store that is slow will come to an end; one that is away is waited for as long as the caller says."""
    slow_s = 0.5

    class Slow(ScriptedSink):
        def ship(self, *batches: Batch) -> None:
            time.sleep(slow_s)
            super().ship(*batches)

    sink = Slow()
    is_away = threading.Event()
    writer.write(rows.event())
    shipper = start(lambda: ScriptedSink(repeat("away")) if is_away.is_set() else sink)
    assert shipper.flush(DEADLINE_S, away_s=slow_s / 10)
    is_away.set()
    sink.schedule = repeat("away")
    writer.write(rows.event())
    before = time.monotonic()
    assert not shipper.flush(10 * DEADLINE_S, away_s=slow_s / 10)
    assert time.monotonic() - before < DEADLINE_S


def test_flush_after_the_end_returns_at_once(start: Callable[..., Shipper]) -> None:
    """There is nobody left to wait for."""
    shipper = start(ScriptedSink)
    assert shipper.stop(DEADLINE_S)
    before = time.monotonic()
    assert not shipper.flush(5.0)
    assert time.monotonic() - before < 1.0


def test_a_stream_that_opens_while_orphans_are_looked_for_is_not_taken_for_one(
    tmp_path: Path, start: Callable[..., Shipper]
) -> None:
    """The thread starts with the first pipeline, at the moment when the stream is made: it never claims it."""
    for _ in range(30):
        writer = new_writer(tmp_path)
        sink = ScriptedSink()
        config = ShipperConfig((tmp_path,), TARGET, 0.001, 1 << 20)
        shipper = Shipper(config, writer, lambda sink=sink: sink, Notices())  # type: ignore[misc] # a default
        shipper.start()
        for _ in range(20):
            writer.write(rows.event())
        assert writer.stream is not None
        assert shipper.stop(DEADLINE_S)
        assert (shipper.tally.rows, shipper.orphan_tally.rows) == (20, 0)
        assert len(sink.lines["keep"]) == 20
        stream = writer.close()
        assert stream is not None
        assert stream.folder.exists()
        stream.discard()


def test_a_stream_that_is_removed_under_the_process_is_followed_by_another(
    tmp_path: Path, writer: SpoolWriter, start: Callable[..., Shipper]
) -> None:
    """Rows written after somebody removed the folder arrive; the loss is said once."""
    sink = ScriptedSink()
    shipper = start(lambda: sink)
    writer.write(rows.event())
    wait_for(lambda: shipper.tally.rows == 1)
    removed = writer.stream
    assert removed is not None
    shutil.rmtree(removed.folder)
    wait_for(lambda: writer.stream is None)
    writer.write(rows.event())
    wait_for(lambda: shipper.tally.rows == 2)
    assert writer.stream is not None
    assert writer.stream.folder != removed.folder


def leave_stream(spool_dir: Path, *contents: Row) -> None:
    """Write a stream as a process does that is gone by now."""
    dead = new_writer(spool_dir)
    for row in contents:
        dead.write(row)
    stream = dead.close()
    assert stream is not None
    stream.close()


def test_a_flush_delivers_what_workers_have_left(tmp_path: Path, start: Callable[..., Shipper]) -> None:
    """Whoever flushes after the end of a pool finds all of it, also where a watcher would deliver it later."""
    sink = ScriptedSink()
    shipper = start(lambda: sink, is_watched=lambda: True)
    for number in range(3):
        leave_stream(tmp_path, rows.event())
        assert shipper.flush(DEADLINE_S)
        assert shipper.orphan_tally.rows == number + 1


def test_who_is_watched_leaves_the_dead_to_the_watcher(
    tmp_path: Path, writer: SpoolWriter, start: Callable[..., Shipper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workers need not all look at each other's streams; without the watcher, and at the end, they do."""
    monkeypatch.setattr("pipespan.spool.shipper.ORPHANS_EVERY_S", 0.0)
    leave = partial(leave_stream, tmp_path)
    is_watched = threading.Event()
    is_watched.set()
    sink = ScriptedSink()
    leave(rows.event())
    shipper = start(lambda: sink, is_watched=is_watched.is_set, leaves_rest=True)
    wait_for(lambda: shipper.orphan_tally.rows == 1)  # what was there before
    leave(rows.event())
    writer.write(rows.event())
    assert shipper.flush(DEADLINE_S)
    assert shipper.flush(DEADLINE_S)
    assert (shipper.tally.rows, shipper.orphan_tally.rows) == (1, 1)
    is_watched.clear()
    wait_for(lambda: shipper.orphan_tally.rows == 2)
    is_watched.set()
    leave(rows.event())
    assert shipper.stop(DEADLINE_S)
    assert shipper.orphan_tally.rows == 3
