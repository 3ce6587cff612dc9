from __future__ import annotations

import os
import stat
import threading
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from pipespan.model.rows import LogRow, Row
from pipespan.spool import held as held_module
from pipespan.spool import writer as writer_module
from pipespan.spool.layout import LANES, StreamMeta, segments
from pipespan.spool.orphans import find_streams
from pipespan.spool.reader import read_chunk
from pipespan.spool.writer import SpoolWriter
from pipespan.store.copytext import decode_line, encode_row
from tests.fixtures import rows
from tests.spool.support import TARGET, ScriptedSink, delivery_of, new_writer

LOG_BYTES = len(encode_row(rows.log("number 0000"))) + 1


def log(number: int, **changes: Any) -> LogRow:
    return rows.log(f"number {number:04d}", **changes)


def shipped(writer: SpoolWriter) -> dict[str, list[bytes]]:
    assert writer.stream is not None
    sink = ScriptedSink()
    assert delivery_of(writer.stream.folder).run(sink)
    return sink.lines


def messages(lines: list[bytes]) -> list[str]:
    return [decode_line(LogRow, line).message for line in lines]


def end(writer: SpoolWriter) -> None:
    if (stream := writer.close()) is not None:
        stream.close()


def test_each_kind_of_row_goes_to_its_lane(tmp_path: Path) -> None:
    """Lifecycle, events and warnings are kept; snapshots, mild logs and metrics can be spared."""
    kept: list[Row] = [
        rows.experiment(), rows.job(rows.EXPERIMENT_ID), rows.node("a"), rows.event(),
        rows.log(level="WARNING"), rows.log(level="ERROR"), rows.log(level="CRITICAL"),
    ]  # fmt: skip
    writer = new_writer(tmp_path)
    for row in kept:
        writer.write(row)
    for row in (rows.log(level="INFO"), rows.log(level="DEBUG"), rows.metric()):
        writer.write(row)
    writer.write(rows.node("a"), droppable=True)
    lines = shipped(writer)
    assert (len(lines["keep"]), len(lines["bulk"])) == (7, 4)
    assert writer.counters.accepted == 11
    end(writer)


def test_streams_are_private_and_say_whose_they_are(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600 whatever the umask; `meta.json` names process and database."""
    before = os.umask(0)
    try:
        writer = new_writer(tmp_path / "deep" / "state" / "spool")
        writer.write(log(1))
    finally:
        os.umask(before)
    assert writer.stream is not None
    folder = writer.stream.folder
    for place in (folder, folder.parent, folder.parent.parent, folder.parent.parent.parent):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ("meta.json", "lock", f"keep-{0:020d}.seg", f"bulk-{0:020d}.seg"), 0o600
    )
    meta = StreamMeta.load(folder)
    assert meta is not None
    assert (meta.stream_id, meta.target, meta.pid) == (folder.name, TARGET, os.getpid())
    end(writer)


def test_nothing_is_created_before_the_first_row(tmp_path: Path) -> None:
    """A program that imports and never records leaves no trace."""
    writer = new_writer(tmp_path / "state")
    assert writer.waiting_bytes() == 0
    assert writer.close() is None
    assert not (tmp_path / "state").exists()


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    """Eight threads write at once, over many segments: each row is there once, in each thread's order."""
    writer = new_writer(tmp_path, segment_bytes=4000)

    def write(thread: int) -> None:
        for number in range(250):
            writer.write(rows.log(f"{thread} {number}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [text.split() for text in messages(shipped(writer)["bulk"])]
    for name in "01234567":
        assert [int(number) for who, number in got if who == name] == list(range(250))
    assert writer.counters.accepted == 2000
    end(writer)


def test_a_row_that_cannot_be_encoded_is_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours costs that row and one line on stderr, never an exception."""
    writer = new_writer(tmp_path)
    writer.write(log(1, timestamp="now"))
    writer.write(log(2, timestamp="now"))
    writer.write(log(3))
    assert (writer.counters.failed, writer.counters.accepted) == (2, 1)
    assert capsys.readouterr().err.count("\n") == 1
    end(writer)


def test_the_oldest_mild_rows_go_first_when_the_spool_is_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the bound the newest mild logs stay, every error and lifecycle row stays, and the loss is counted exactly."""
    bound = 400 * LOG_BYTES
    writer = new_writer(tmp_path, segment_bytes=20 * LOG_BYTES, max_bytes=bound)
    for number in range(1000):
        writer.write(log(number))
        if number % 50 == 0:
            writer.write(log(number, level="ERROR"))
            writer.write(rows.node(f"n{number}"))
        assert writer.waiting_bytes() <= bound
    lines = shipped(writer)
    left = messages(lines["bulk"])
    assert left == [f"number {number:04d}" for number in range(1000 - len(left), 1000)]
    assert len(left) > 250
    assert len(lines["keep"]) == 40
    assert writer.counters.dropped == 1000 - len(left)
    assert capsys.readouterr().err.count("\n") == 1
    end(writer)


def test_kept_rows_push_mild_ones_out(tmp_path: Path) -> None:
    """A spool full of mild logs makes room for errors, segment by segment, also where it is smaller than a segment."""
    bound = 100 * LOG_BYTES
    writer = new_writer(tmp_path, segment_bytes=8 << 20, max_bytes=bound)
    for number in range(500):
        writer.write(log(number))
    for number in range(80):
        writer.write(log(number, level="ERROR"))
        assert writer.waiting_bytes() <= bound
    lines = shipped(writer)
    assert messages(lines["keep"]) == [f"number {number:04d}" for number in range(80)]
    assert writer.counters.dropped + len(lines["bulk"]) == 500
    end(writer)


def test_a_spool_full_of_kept_rows_counts_what_it_lets_go(tmp_path: Path) -> None:
    """Even errors are bounded; what finds no room is counted."""
    writer = new_writer(tmp_path, max_bytes=50 * LOG_BYTES)
    for number in range(100):
        writer.write(log(number, level="ERROR"))
    lines = shipped(writer)
    assert len(lines["keep"]) in {49, 50}
    assert writer.counters.dropped == 100 - len(lines["keep"])
    end(writer)


def test_acknowledged_rows_make_room(tmp_path: Path) -> None:
    """The bound is on what waits, not on what ever was written."""
    writer = new_writer(tmp_path, segment_bytes=10 * LOG_BYTES, max_bytes=100 * LOG_BYTES)
    sink = ScriptedSink()
    for number in range(1000):
        writer.write(log(number))
        if number % 50 == 49:
            assert writer.stream is not None
            delivery_of(writer.stream.folder, acknowledged=writer.acknowledge).run(sink)
            assert writer.waiting_bytes() == 0
    assert messages(sink.lines["bulk"]) == [f"number {number:04d}" for number in range(1000)]
    assert writer.counters.dropped == 0
    end(writer)


def test_what_is_shipped_while_rows_are_dropped_is_never_taken_for_all(tmp_path: Path) -> None:
    """After drops `waiting_bytes` is exact: nothing waits only when nothing is on disk any more."""
    writer = new_writer(tmp_path, segment_bytes=10 * LOG_BYTES, max_bytes=100 * LOG_BYTES)
    sink = ScriptedSink(chain(repeat("ok", 1), repeat("away")))
    for number in range(15):
        writer.write(log(number))
    assert writer.stream is not None
    delivery = delivery_of(writer.stream.folder, batch_bytes=6 * LOG_BYTES, acknowledged=writer.acknowledge)
    with pytest.raises(Exception, match="away"):
        delivery.run(sink)
    assert writer.waiting_bytes() == 9 * LOG_BYTES, "the first batch arrived"
    for number in range(15, 300):
        writer.write(log(number))
    on_disk = sum(one.path.stat().st_size for one in segments(writer.stream.folder, "bulk"))
    assert writer.waiting_bytes() == on_disk
    assert 6 + writer.counters.dropped + on_disk // LOG_BYTES == 300
    end(writer)


def test_the_next_folder_is_taken_when_the_first_cannot_be_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state folder that cannot be used costs one line naming the setting; the rows go elsewhere."""
    (tmp_path / "file").touch()
    writer = new_writer(tmp_path / "file" / "spool", tmp_path / "spare")
    for number in range(10):
        writer.write(log(number))
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "PIPESPAN_STATE_DIR" in err
    assert str(tmp_path / "spare") in err
    assert len(find_streams(tmp_path / "spare")) == 1
    assert len(shipped(writer)["bulk"]) == 10
    end(writer)


def test_memory_holds_a_bounded_number_of_rows_when_no_folder_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any folder the newest rows stay in memory; they go to disk, in order, when there is one again."""
    monkeypatch.setattr(held_module, "RING_BYTES", 50 * LOG_BYTES)
    monkeypatch.setattr(writer_module, "RETRY_S", 0.0)
    for name in ("one", "two"):
        (tmp_path / name).touch()
    writer = new_writer(tmp_path / "one" / "spool", tmp_path / "two" / "spool")
    for number in range(200):
        writer.write(log(number))
        assert writer.waiting_bytes() <= 50 * LOG_BYTES
    assert writer.counters.dropped == 150
    assert writer.held_rows() == 50
    (tmp_path / "two").unlink()
    writer.retry_held()
    writer.write(log(200))
    assert writer.held_rows() == 0
    assert messages(shipped(writer)["bulk"]) == [f"number {number:04d}" for number in range(150, 201)]
    err = capsys.readouterr().err
    assert "held in memory" in err
    assert err.count("\n") <= 2
    end(writer)


def test_tries_to_open_a_stream_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stays full for hours costs neither descriptors nor folders."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.0)

    def no_space(_meta: StreamMeta, _folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StreamMeta, "save", no_space)
    writer = new_writer(tmp_path / "spool")
    writer.write(log(0))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for number in range(50):
        writer.write(log(number))
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after == before
    assert os.listdir(tmp_path / "spool") == []
    assert writer.held_rows() == 51


def test_a_later_row_opens_a_new_stream(tmp_path: Path) -> None:
    """After `close` the old stream gets nothing more; what comes late has one of its own."""
    writer = new_writer(tmp_path)
    writer.write(log(1))
    first = writer.close()
    assert first is not None
    writer.write(log(2))
    assert writer.stream is not None
    assert writer.stream.folder != first.folder
    assert messages(shipped(writer)["bulk"]) == ["number 0002"]
    first.close()
    end(writer)


def test_sync_puts_both_lanes_on_the_disk(tmp_path: Path) -> None:
    """It never raises, with or without a stream."""
    writer = new_writer(tmp_path)
    writer.sync()
    writer.write(log(1))
    writer.sync()
    assert writer.stream is not None
    for lane in LANES:
        read_chunk(writer.stream.folder, lane, 0, limit_bytes=100, is_ended=False)
    end(writer)
    writer.sync()


def test_what_the_stream_takes_on_disk_is_told(tmp_path: Path) -> None:
    """As the folder has it, whether the older segments are shipped, waiting or gone."""
    writer = new_writer(tmp_path, segment_bytes=20 * LOG_BYTES)
    assert writer.spool_bytes() == 0
    for number in range(50):
        writer.write(log(number))
    assert writer.stream is not None
    folder = writer.stream.folder
    assert len(segments(folder, "bulk")) == 3
    assert writer.spool_bytes() == sum(path.stat().st_size for path in folder.glob("*.seg")) > 0
    assert delivery_of(folder, acknowledged=writer.acknowledge).run(ScriptedSink())
    assert len(segments(folder, "bulk")) == 1
    assert writer.spool_bytes() == sum(path.stat().st_size for path in folder.glob("*.seg")) > 0
    end(writer)
