"""Streams of live processes are shipped from their files; whatever is amiss with one, it is given up."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pipespan.spool.layout import remove_stream, segments
from pipespan.spool.rounds import MUCH_BYTES, Rounds
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Batch
from tests.fixtures import rows
from tests.fixtures.waiting import wait_for
from tests.spool.children import start_child
from tests.spool.fetching import FetchingSink
from tests.spool.support import new_writer

START = {"keep": 0, "bulk": 0}
EVERY_S = 0.02


@pytest.fixture
def new_stream(tmp_path: Path) -> Iterator[Callable[..., tuple[SpoolWriter, Path]]]:
    """Open streams, each with one event in it."""
    writers: list[SpoolWriter] = []

    def build(segment_bytes: int = 1 << 20) -> tuple[SpoolWriter, Path]:
        writers.append(new_writer(tmp_path, segment_bytes=segment_bytes))
        writers[-1].write(rows.event())
        folder = writers[-1].folder()
        assert folder is not None
        return writers[-1], folder

    yield build
    for writer in writers:
        if (stream := writer.close()) is not None:
            stream.close()


def test_what_is_written_is_fetched(new_stream: Callable[..., tuple[SpoolWriter, Path]]) -> None:
    """Of each stream, again and again, in order; who leaves is told how far it is, and no more is taken."""
    sink = FetchingSink()
    (one, one_folder), (other, other_folder) = new_stream(), new_stream()
    charge = sink.rounds.take(one_folder, START, EVERY_S)
    second = sink.rounds.take(other_folder, START, EVERY_S)
    wait_for(lambda: len(sink.lines.get("keep", ())) == 2)
    for number in range(20):
        one.write(rows.log(str(number)))
        time.sleep(EVERY_S / 5)
    wait_for(lambda: len(sink.lines.get("bulk", ())) == 20)
    wait_for(lambda: sink.rounds.standing(charge).rows == 21)
    told = sink.rounds.leave(charge)
    assert (told.rows, told.is_over) == (21, False)
    assert sum(told.offsets.values()) == one.spool_bytes()
    one.write(rows.event())
    other.write(rows.event())
    wait_for(lambda: sink.rounds.standing(second).rows == 2)
    assert len(sink.lines["keep"]) == 3
    assert sink.errors == {}


def test_who_is_in_a_hurry_is_looked_after_now(new_stream: Callable[..., tuple[SpoolWriter, Path]]) -> None:
    """And not at his next turn; what comes in the midst of a round is for one right behind it."""
    is_inside, may_go_on = threading.Event(), threading.Event()

    def ship(shares: Sequence[Sequence[Batch]]) -> list[bool]:
        is_inside.set()
        assert may_go_on.wait(10)
        return [True] * len(shares)

    writer, folder = new_stream()
    fetching = Rounds(ship)
    charge = fetching.take(folder, START, 3600.0)
    fetching.hurry(charge)
    assert is_inside.wait(10)
    writer.write(rows.event())
    fetching.hurry(charge)
    may_go_on.set()
    wait_for(lambda: fetching.standing(charge).rows == 2)
    writer.write(rows.event())
    time.sleep(0.1)
    assert fetching.leave(charge).rows == 2


def test_streams_whose_turn_it_is_go_together(new_stream: Callable[..., tuple[SpoolWriter, Path]]) -> None:
    """A transaction costs hardly more for ten streams than for one."""
    together: list[int] = []

    def ship(shares: Sequence[Sequence[Batch]]) -> list[bool]:
        together.append(len(shares))
        return [True] * len(shares)

    fetching = Rounds(ship)
    charges = [fetching.take(new_stream()[1], START, 0.3) for _ in range(5)]
    wait_for(lambda: all(fetching.standing(charge).rows == 1 for charge in charges))
    assert sum(together) == 5
    assert len(together) <= 2, "the first may have been taken at the very end of a turn"


def test_older_segments_are_fetched_first(new_stream: Callable[..., tuple[SpoolWriter, Path]]) -> None:
    """A stream goes on in further files; what is in them comes in order."""
    sink = FetchingSink()
    writer, folder = new_stream(segment_bytes=400)
    charge = sink.rounds.take(folder, START, EVERY_S)
    for number in range(30):
        writer.write(rows.log(f"number {number}"))
    assert len(segments(folder, "bulk")) > 3
    wait_for(lambda: len(sink.lines.get("bulk", ())) == 30)
    said = [line.split(b"number ")[1].split(b"\t")[0] for line in sink.lines["bulk"]]
    assert said == [str(number).encode() for number in range(30)]
    assert not sink.rounds.leave(charge).is_over


def test_the_stream_of_a_process_that_ends_is_shipped_whole(tmp_path: Path) -> None:
    """It is removed as soon as the process lets go of it, and not before; the other one is none the worse for it."""
    child = start_child("write_and_wait", tmp_path, 3, stdin=subprocess.PIPE)
    sink = FetchingSink()
    try:
        assert child.stdout is not None
        folder = tmp_path / child.stdout.readline().strip()
        charge = sink.rounds.take(folder, START, EVERY_S)
        assert sink.rounds.finish(charge)
        wait_for(lambda: len(sink.lines.get("keep", ())) == 3)
        time.sleep(5 * EVERY_S)
        assert folder.exists()
    finally:
        child.communicate()
    wait_for(lambda: charge.is_over)
    assert not folder.exists()
    assert not sink.rounds.finish(charge)
    assert len(sink.lines["keep"]) == 3
    assert sink.errors == {}


def test_a_stream_that_ends_is_shipped_before_it_is_removed(
    new_stream: Callable[..., tuple[SpoolWriter, Path]],
) -> None:
    """However many files it has, and while the database takes nothing; then it is left to who delivers the dead."""
    sink = FetchingSink(schedule=iter(["away"]))
    writer, folder = new_stream(segment_bytes=400)
    for number in range(30):
        writer.write(rows.log(f"number {number}"))
    away = sink.rounds.take(folder, START, EVERY_S)
    assert sink.rounds.finish(away)
    wait_for(lambda: away.is_over)
    assert folder.exists()
    assert sink.lines == {}
    assert sink.rounds.finish(sink.rounds.take(folder, START, EVERY_S))
    wait_for(lambda: not folder.exists())
    assert [len(sink.lines[lane]) for lane in ("keep", "bulk")] == [1, 30]


def test_a_stream_that_somebody_else_has_delivered_is_forgotten(
    new_stream: Callable[..., tuple[SpoolWriter, Path]],
) -> None:
    """Who looks after the dead may have been faster."""
    sink = FetchingSink()
    _, folder = new_stream()
    charge = sink.rounds.take(folder, START, 0.5)
    wait_for(lambda: sink.rounds.standing(charge).rows == 1)
    remove_stream(folder)
    assert sink.rounds.finish(charge)
    wait_for(lambda: charge.is_over)


@pytest.mark.parametrize("trouble", ["much", "refused", "elsewhere"])
def test_who_is_in_trouble_is_given_up(
    new_stream: Callable[..., tuple[SpoolWriter, Path]], trouble: str
) -> None:
    """And nobody else: the process ships by itself what is too much, and finds out which row is refused."""
    sink = FetchingSink()
    sink.refuses = lambda line: b"poison" in line
    (one, one_folder), (well, well_folder) = new_stream(), new_stream()
    if trouble == "much":
        for _ in range(MUCH_BYTES // 60_000 + 1):
            one.write(rows.log("x" * 60_000))
    elif trouble == "refused":
        one.write(rows.log("poison"))
    offsets = {**START, "keep": 3} if trouble == "elsewhere" else START
    charge = sink.rounds.take(one_folder, offsets, EVERY_S)
    other = sink.rounds.take(well_folder, START, EVERY_S)
    wait_for(lambda: sink.rounds.standing(charge).is_over)
    told = sink.rounds.leave(charge)
    assert (dict(told.offsets), told.rows, told.late_s) == (offsets, 0, 0.0)
    well.write(rows.event())
    wait_for(lambda: sink.rounds.standing(other).rows == 2)
    assert not sink.rounds.standing(other).is_over


def test_what_nobody_thought_of_gives_all_up(new_stream: Callable[..., tuple[SpoolWriter, Path]]) -> None:
    """The processes ship by themselves, and those that come later are served."""
    faults = iter([RuntimeError("a bug")])

    def ship(shares: Sequence[Sequence[Batch]]) -> list[bool]:
        for fault in faults:
            raise fault
        return [True] * len(shares)

    fetching = Rounds(ship)
    charge = fetching.take(new_stream()[1], START, EVERY_S)
    wait_for(lambda: fetching.standing(charge).is_over)
    later = fetching.take(new_stream()[1], START, EVERY_S)
    wait_for(lambda: fetching.standing(later).rows == 1)


def test_a_round_that_does_not_end_is_told(
    new_stream: Callable[..., tuple[SpoolWriter, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen database raises no error; who leaves waits for the round under way, but not for ever."""
    monkeypatch.setattr("pipespan.spool.rounds.LEAVE_S", 0.1)
    begun, may_go_on = threading.Event(), threading.Event()

    def ship(shares: Sequence[Sequence[Batch]]) -> list[bool]:
        begun.set()
        assert may_go_on.wait(10)
        return [True] * len(shares)

    fetching = Rounds(ship)
    charge = fetching.take(new_stream()[1], START, EVERY_S)
    assert begun.wait(10)
    wait_for(lambda: fetching.standing(charge).late_s > 0.2)
    assert fetching.leave(charge).rows == 0
    again = fetching.take(charge.folder, START, EVERY_S)
    may_go_on.set()
    wait_for(lambda: fetching.standing(again).rows == 1)
    slowest_s = fetching.standing(charge).slowest_s
    assert slowest_s > 0.1
    assert fetching.standing(charge).slowest_s == 0.0, "it is told once"
