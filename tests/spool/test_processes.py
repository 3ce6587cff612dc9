from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipespan.model.rows import EventRow
from pipespan.spool.delivery import Tally
from pipespan.spool.layout import LOCK
from pipespan.spool.lock import FileLock
from pipespan.spool.notices import Notices
from pipespan.spool.orphans import claim, find_streams
from pipespan.spool.shipping import ShipperConfig, deliver_orphans
from pipespan.store.copytext import decode_line
from tests.spool.children import start_child
from tests.spool.support import TARGET, ScriptedSink

Child = subprocess.Popen[str]


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Start children that are gone when the test ends."""
    started: list[Child] = []

    def start(*arguments: Any) -> Child:
        started.append(start_child(*arguments, stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def line_of(child: Child) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def deliver(
    folder: Path, sink: ScriptedSink, *, target: str = TARGET, own_ids: tuple[str, ...] = ()
) -> Tally:
    tally = Tally()
    config = ShipperConfig((folder,), target, 0.1, 1 << 20)
    deliver_orphans(
        folder, config, lambda: sink, Notices(), own_ids=own_ids, tally=tally, may_go_on=lambda: True
    )  # fmt: skip
    return tally


def titles(sink: ScriptedSink) -> list[str]:
    return [decode_line(EventRow, line).title for line in sink.lines.get("keep", [])]


def test_the_stream_of_a_living_process_is_left_alone(tmp_path: Path, child: Callable[..., Child]) -> None:
    """Nobody takes what a live process writes; as soon as it is killed the next one who looks delivers all."""
    writing = child("write_and_wait", tmp_path, 50)
    name = line_of(writing)
    sink = ScriptedSink()
    assert deliver(tmp_path, sink).rows == 0
    with claim(tmp_path / name) as is_ours:
        assert not is_ours
    writing.kill()
    writing.wait()
    assert deliver(tmp_path, sink).rows == 50
    assert titles(sink) == [f"event {number}" for number in range(50)]
    assert find_streams(tmp_path) == []
    assert not (tmp_path / name).exists()


def test_two_who_deliver_at_once_deliver_once(tmp_path: Path, child: Callable[..., Child]) -> None:
    """Threads of one process share locks, so here only the ledger stands between them: still each row arrives once."""
    for _ in range(5):
        writing = child("write_and_wait", tmp_path, 40)
        line_of(writing)
        writing.kill()
        writing.wait()
    sink = ScriptedSink()
    threads = [threading.Thread(target=deliver, args=(tmp_path, sink)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(tmp_path, sink)
    assert sorted(titles(sink)) == sorted([f"event {number}" for number in range(40)] * 5)


def test_streams_for_another_database_are_left_alone(tmp_path: Path, child: Callable[..., Child]) -> None:
    """A stream goes only to the database that it was written for."""
    writing = child("write_and_wait", tmp_path, 3)
    line_of(writing)
    writing.kill()
    writing.wait()
    sink = ScriptedSink()
    assert deliver(tmp_path, sink, target="postgres:other").rows == 0
    assert len(find_streams(tmp_path)) == 1
    assert deliver(tmp_path, sink).rows == 3


def test_an_own_stream_is_no_orphan(tmp_path: Path, child: Callable[..., Child]) -> None:
    """A process names its own stream, which is then not even looked at: looking would give its lock up."""
    writing = child("write_and_wait", tmp_path, 3)
    name = line_of(writing)
    writing.kill()
    writing.wait()
    assert deliver(tmp_path, ScriptedSink(), own_ids=(name,)).rows == 0


def test_folders_that_are_no_streams_are_left_alone(tmp_path: Path) -> None:
    """A folder without sound meta data, or one that says it is another, is not touched."""
    for name, meta in (("a", "{}"), ("b", "nonsense"), ("c", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_text(meta)
    (tmp_path / "file").touch()
    assert find_streams(tmp_path) == []
    assert find_streams(tmp_path / "gone") == []
    deliver(tmp_path, ScriptedSink())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "file"]


def test_one_unreadable_orphan_does_not_hold_up_the_others(
    tmp_path: Path, child: Callable[..., Child], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read is told and left; the next stream is delivered."""
    names = []
    for _ in range(2):
        writing = child("write_and_wait", tmp_path, 4)
        names.append(line_of(writing))
        writing.kill()
        writing.wait()
    segment = tmp_path / names[0] / f"keep-{0:020d}.seg"
    segment.unlink()
    segment.mkdir()
    sink = ScriptedSink()
    assert deliver(tmp_path, sink).rows == 4
    assert [found.meta.stream_id for found in find_streams(tmp_path)] == [names[0]]
    assert names[0] in capsys.readouterr().err


def test_every_line_whose_call_had_returned_survives_sigkill(
    tmp_path: Path, child: Callable[..., Child]
) -> None:
    """A process is killed at any moment: what it had been told was written is delivered, once, in order."""
    for round_ in range(6):
        writing = child("write_for_ever", tmp_path / str(round_))
        told = [line_of(writing)]
        deadline = time.monotonic() + 0.005 * round_
        while time.monotonic() < deadline:
            told.append(line_of(writing))
        writing.kill()
        assert writing.stdout is not None
        told += writing.stdout.read().split()
        sink = ScriptedSink()
        deliver(tmp_path / str(round_), sink)
        got = titles(sink)
        assert got == [f"event {number}" for number in range(len(got))]
        assert len(got) in {len(told), len(told) + 1}


def test_a_signal_handler_may_write_while_its_thread_does(
    tmp_path: Path, child: Callable[..., Child]
) -> None:
    """Thousands of signals hit a writing thread; their handler writes too: no deadlock, no row lost or torn."""
    writing = child("write_under_signals", tmp_path, 1.5)
    out, err = writing.communicate(timeout=30)
    assert err == ""
    loop, handler, failed = map(int, out.split())
    assert failed == 0
    assert handler > 300
    sink = ScriptedSink()
    deliver(tmp_path, sink)
    got = titles(sink)
    assert [title for title in got if title.startswith("loop")] == [
        f"loop {number}" for number in range(loop)
    ]
    assert sorted(title for title in got if title.startswith("handler")) == sorted(
        f"handler {number}" for number in range(handler)
    )


def test_a_full_disk_costs_nothing_that_fits_into_memory(tmp_path: Path, child: Callable[..., Child]) -> None:
    """When the disk is full rows wait in memory, and go to disk in order when there is room again."""
    writing = child("write_on_a_small_disk", tmp_path, 10_000, 300)
    out, err = writing.communicate(timeout=30)
    (held, dropped, failed), after = (line.split() for line in out.splitlines())
    assert int(held) > 100
    assert (dropped, failed) == ("0", "0")
    assert after == ["0", "0", "0"]
    assert err.count("\n") == 1
    assert "held in memory" in err
    sink = ScriptedSink()
    deliver(tmp_path, sink)
    assert titles(sink) == [*(f"event {number}" for number in range(300)), "the last one"]


def test_a_disk_without_any_room_is_survived(tmp_path: Path, child: Callable[..., Child]) -> None:
    """Not even the stream can be made: rows wait in memory, the stream is made when there is room."""
    writing = child("write_on_a_small_disk", tmp_path, 10, 100)
    out, err = writing.communicate(timeout=30)
    assert out.splitlines() == ["100 0 0", "0 0 0"]
    assert err.count("\n") == 1
    sink = ScriptedSink()
    deliver(tmp_path, sink)
    assert titles(sink) == [*(f"event {number}" for number in range(100)), "the last one"]
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_has_a_stream_of_its_own(tmp_path: Path, child: Callable[..., Child]) -> None:
    """Parent and child write on after a fork; nothing is lost or doubled, and the parent keeps its lock."""
    writing = child("write_in_a_fork", tmp_path)
    parent, forked = line_of(writing), line_of(writing)
    assert line_of(writing) == "ready"
    assert parent != forked
    sink = ScriptedSink()
    deliver(tmp_path, sink)
    assert titles(sink) == ["child"], "the parent lives and holds its lock"
    writing.communicate("")
    deliver(tmp_path, sink)
    assert titles(sink) == ["child", "parent before", "parent after"]


def test_a_lock_is_given_back_once(tmp_path: Path) -> None:
    """Releasing twice does not close somebody else's descriptor."""
    lock = FileLock.try_take(tmp_path / LOCK)
    assert lock is not None
    lock.release()
    with (tmp_path / "other").open("w") as other:
        lock.release()
        other.write("still open")
