"""A stream changes hands between its process and somebody who fetches it, and each row arrives once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipespan.spool.handover import CALM_BYTES
from pipespan.spool.layout import segments
from pipespan.spool.notices import Notices
from pipespan.spool.shipper import Shipper
from pipespan.spool.shipping import ShipperConfig
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Fetched
from tests.fixtures import rows
from tests.fixtures.waiting import wait_for
from tests.spool.fetching import FetchingSink
from tests.spool.support import TARGET, Fault, new_writer

DEADLINE_S = 10.0
EVERY_S = 0.03

Start = Callable[..., tuple[SpoolWriter, Shipper]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a shipper of a writer's own, in step with whoever fetches; it is stopped whatever happens."""
    started: list[tuple[SpoolWriter, Shipper]] = []

    def build(
        sink: FetchingSink,
        interval_s: float = EVERY_S,
        segment_bytes: int = 1 << 20,
        leaves_rest: bool = False,
    ) -> tuple[SpoolWriter, Shipper]:
        writer = new_writer(tmp_path, segment_bytes=segment_bytes)
        config = ShipperConfig(
            (tmp_path,), TARGET, interval_s, 1 << 20, is_in_step=True, leaves_rest=leaves_rest
        )
        shipper = Shipper(config, writer, lambda: sink, Notices())
        shipper.start()
        started.append((writer, shipper))
        return writer, shipper

    yield build
    for writer, shipper in started:
        shipper.stop(0.2)
        if (stream := writer.close()) is not None:
            stream.close()


def handed_over(start: Start, sink: FetchingSink, **options: Any) -> tuple[SpoolWriter, Shipper]:
    """Start a shipper, and return when it has left its stream to `sink` after a first event."""
    writer, shipper = start(sink, **options)
    writer.write(rows.event())
    wait_for(lambda: sink.begun == 1)
    return writer, shipper


def test_who_is_calm_has_it_done(start: Start) -> None:
    """After a round of its own a process ships no more, and knows how far it is all the same."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink)
    for number in range(10):
        writer.write(rows.log(str(number)))
        time.sleep(EVERY_S / 3)
    wait_for(lambda: writer.waiting_bytes() == 0)
    assert shipper.tally.rows == 11
    assert (sink.begun, shipper.last_error) == (1, None)
    assert sink.told[-1].rows == 10
    assert shipper.stop(DEADLINE_S)
    assert sink.charge is None


def test_a_flush_and_the_end_ship_at_once(start: Start) -> None:
    """Nobody waits for the other's turn; afterwards it is the other's again."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink, interval_s=1.0)
    for number in range(3):
        writer.write(rows.log(str(number)))
        assert shipper.flush(DEADLINE_S)
        assert len(sink.lines["bulk"]) == number + 1
    assert shipper.tally.rows == 4
    wait_for(lambda: sink.begun == 2)
    writer.write(rows.event())
    assert shipper.stop(DEADLINE_S)
    assert len(sink.lines["keep"]) == 2


def test_who_hurries_has_the_other_look(start: Start) -> None:
    """Who fetches looks at once, and goes on fetching."""
    sink = FetchingSink()
    writer, shipper = start(sink, interval_s=3600.0)
    writer.write(rows.event())
    assert shipper.flush(DEADLINE_S)
    writer.write(rows.event())
    shipper.hurry()
    wait_for(lambda: sink.begun == 1)
    assert (len(sink.lines["keep"]), sink.hurried) == (2, 0)
    writer.write(rows.log("an end"))
    shipper.hurry()
    wait_for(lambda: len(sink.lines.get("bulk", ())) == 1)
    assert (sink.hurried, sink.begun) == (1, 1)
    assert sink.charge is not None


def test_a_flush_in_the_midst_of_a_round_is_for_the_next_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one under way began without it, and does not take the stream back."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink)
    is_inside, may_go_on = threading.Event(), threading.Event()
    fetched = sink.fetched

    def slow() -> Fetched | None:
        is_inside.set()
        assert may_go_on.wait(DEADLINE_S)
        return fetched()

    monkeypatch.setattr(sink, "fetched", slow)
    assert is_inside.wait(DEADLINE_S)
    with ThreadPoolExecutor(1) as pool:
        with sink.guard:  # what ships waits for it
            writer.write(rows.log("the last one"))
            flushed = pool.submit(shipper.flush, DEADLINE_S)
            time.sleep(0.1)
            may_go_on.set()
            time.sleep(0.3)
            assert not flushed.done()
        assert flushed.result()
    assert len(sink.lines["bulk"]) == 1


def test_a_worker_leaves_the_rest(start: Start) -> None:
    """Whoever waits for its end need not wait for the database; what it has written is shipped, and removed, then."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink, interval_s=1.0, leaves_rest=True)
    folder = writer.folder()
    assert folder is not None
    with sink.guard:  # what ships waits for it
        writer.write(rows.log("the last one"))
        assert not shipper.stop(DEADLINE_S)
    wait_for(lambda: not folder.exists())
    assert len(sink.lines["bulk"]) == 1
    assert shipper.tally.rows == 1


@pytest.mark.parametrize("trouble", ["gone", "over"])
def test_a_worker_whose_stream_nobody_fetches_any_more_ships_by_itself(start: Start, trouble: str) -> None:
    """Also when it learns that at its very end."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink, interval_s=1.0, leaves_rest=True)
    assert sink.charge is not None
    writer.write(rows.log("the last one"))
    sink.is_gone = trouble == "gone"
    sink.rounds.leave(sink.charge)
    assert shipper.stop(DEADLINE_S)
    assert len(sink.lines["bulk"]) == 1


def test_who_writes_much_ships_by_himself(start: Start) -> None:
    """A burst is taken back, and is given away again when it is over."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink)
    for _ in range(30):
        writer.write(rows.log("x" * CALM_BYTES))
    wait_for(lambda: writer.waiting_bytes() == 0)
    assert any(told.is_over for told in sink.told)
    wait_for(lambda: sink.begun == 2)
    assert shipper.tally.rows == 31


def test_what_is_fetched_is_removed(start: Start) -> None:
    """As what is shipped: a stream does not grow by what the database has."""
    sink = FetchingSink()
    writer, _ = handed_over(start, sink, segment_bytes=2_000)
    for number in range(60):
        writer.write(rows.log(f"number {number}"))
        time.sleep(0.002)
    folder = writer.folder()
    assert folder is not None
    wait_for(lambda: writer.waiting_bytes() == 0)
    wait_for(lambda: len(segments(folder, "bulk")) == 1)
    assert sink.begun == 1
    assert len(sink.lines["bulk"]) == 60
    assert writer.spool_bytes() < 4_000


def test_a_database_that_does_not_answer_the_other_is_away(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other goes on telling how far it is; nothing comes any further, and that is told."""
    monkeypatch.setattr("pipespan.spool.shipper.MAX_PAUSE_S", 0.1)
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink)
    wait_for(lambda: writer.waiting_bytes() == 0)
    with sink.guard:  # what ships waits for it
        writer.write(rows.event())
        wait_for(lambda: shipper.away_s() > 0.5)
    wait_for(lambda: shipper.away_s() == 0.0)
    assert len(sink.lines["keep"]) == 2


def test_whoever_fetched_is_gone(start: Start) -> None:
    """It is not known how far he came; the ledger tells, and the process ships by itself."""
    sink = FetchingSink()
    writer, shipper = handed_over(start, sink)
    writer.write(rows.log("fetched"))
    wait_for(lambda: "bulk" in sink.lines)
    sink.is_gone = True
    sink.rounds.leave(sink.charge)  # type: ignore[arg-type]
    writer.write(rows.log("shipped"))
    wait_for(lambda: len(sink.lines["bulk"]) == 2)
    wait_for(lambda: shipper.tally.rows == 3)
    assert (sink.begun, shipper.last_error) == (1, None)


def test_a_stream_that_is_removed_is_not_fetched(start: Start, tmp_path: Path) -> None:
    """Its process opens another one, which is fetched in its turn."""
    sink = FetchingSink()
    writer, _ = handed_over(start, sink)
    folder = writer.folder()
    assert folder is not None
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    wait_for(lambda: writer.stream is None or writer.stream.folder != folder)
    writer.write(rows.log("elsewhere"))
    wait_for(lambda: sink.begun == 2)
    assert len(sink.lines["bulk"]) == 1


@pytest.mark.parametrize("seed", range(6))
def test_each_row_arrives_once(start: Start, seed: int) -> None:
    """Whoever ships, whatever fails, and whenever somebody flushes: all rows are there, in order, and counted."""
    chance = random.Random(seed)
    faults: list[Fault] = ["away", "lost answer"]
    sink = FetchingSink(schedule=iter(
        [chance.choice(faults) if chance.random() < 0.2 else "ok" for _ in range(60)]
    ))  # fmt: skip
    writer, shipper = start(sink, interval_s=0.01, segment_bytes=chance.choice([500, 5_000, 1 << 20]))
    for number in range(300):
        writer.write(rows.log(f"number {number}"))
        if chance.random() < 0.02:
            shipper.flush(0.05)
        if chance.random() < 0.2:
            time.sleep(chance.random() * 0.02)
    assert shipper.flush(DEADLINE_S)
    said = [int(line.split(b"number ")[1].split(b"\t")[0]) for line in sink.lines["bulk"]]
    assert said == list(range(300))
    assert shipper.tally.rows == 300
    assert sink.begun > 0
