from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.spool.lane import LaneWriter
from pipespan.spool.layout import segment_path, segments
from pipespan.spool.reader import drop_shipped, read_chunk

in_one_folder = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
some_lines = st.lists(
    st.binary(max_size=40).map(lambda raw: b"l" + raw.replace(b"\n", b"?") + b"\n"), max_size=40
)


def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / f"lane-{len(os.listdir(tmp_path))}"
    folder.mkdir()
    return folder


def read_all(folder: Path, limit: int, *, start: int = 0, is_ended: bool = True) -> tuple[bytes, int, int]:
    """Return what a reader gets, where it ends, and how many bytes it had to skip."""
    data, skipped = b"", 0
    while chunk := read_chunk(folder, "bulk", start, limit_bytes=limit, is_ended=is_ended):
        assert chunk.start_bytes == start
        assert chunk.end_bytes > start
        assert chunk.data == b"" or chunk.data.endswith(b"\n")
        data, skipped, start = data + chunk.data, skipped + chunk.skipped_bytes, chunk.end_bytes
    return data, start, skipped


@in_one_folder
@given(lines=some_lines, segment=st.integers(1, 200), limit=st.integers(1, 300))
def test_reader_gives_exactly_the_lines_in_order(
    tmp_path: Path, lines: list[bytes], segment: int, limit: int
) -> None:
    """Whatever is written, however large segments and reads are, the reader gives the same bytes in order."""
    folder = fresh(tmp_path)
    lane = LaneWriter(folder, "bulk", segment)
    for line in lines:
        lane.append(line)
    whole = b"".join(lines)
    assert lane.end_bytes == len(whole)
    assert read_all(folder, limit, is_ended=False) == (whole, len(whole), 0)
    lane.close()


@in_one_folder
@given(lines=some_lines, segment=st.integers(1, 200), limit=st.integers(1, 300), data=st.data())
def test_reading_may_start_behind_any_line(
    tmp_path: Path, lines: list[bytes], segment: int, limit: int, data: st.DataObject
) -> None:
    """From the offset behind any line the rest comes whole, also when what lies before is removed."""
    folder = fresh(tmp_path)
    lane = LaneWriter(folder, "bulk", segment)
    for line in lines:
        lane.append(line)
    lane.close()
    shipped = data.draw(st.integers(0, len(lines)))
    start = len(b"".join(lines[:shipped]))
    drop_shipped(folder, "bulk", start)
    rest = b"".join(lines[shipped:])
    assert read_all(folder, limit, start=start) == (rest, start + len(rest), 0)
    closed = segments(folder, "bulk")[1:]
    assert all(following.start_bytes > start for following in closed)


@in_one_folder
@given(
    lines=some_lines,
    segment=st.integers(1, 200),
    limit=st.integers(1, 300),
    torn=st.binary(min_size=1, max_size=50),
)
def test_torn_last_line_is_skipped_only_when_nobody_writes_any_more(
    tmp_path: Path, lines: list[bytes], segment: int, limit: int, torn: bytes
) -> None:
    """A line without its end is left alone while its writer may live, and skipped and counted afterwards."""
    folder = fresh(tmp_path)
    lane = LaneWriter(folder, "bulk", segment)
    for line in lines:
        lane.append(line)
    lane.close()
    torn = torn.replace(b"\n", b"?")
    whole = b"".join(lines)
    with segments(folder, "bulk")[-1].path.open("ab") as file:
        file.write(torn)
    assert read_all(folder, limit, is_ended=False) == (whole, len(whole), 0)
    data, end, skipped = read_all(folder, limit)
    assert (data, end, skipped) == (whole, len(whole) + len(torn), len(torn))


@in_one_folder
@given(lines=some_lines, segment=st.integers(1, 100), limit=st.integers(1, 300), drops=st.integers(0, 5))
def test_dropped_segments_are_skipped_and_counted(
    tmp_path: Path, lines: list[bytes], segment: int, limit: int, drops: int
) -> None:
    """What `drop_oldest` removes is a gap for the reader, and its lines are counted exactly."""
    folder = fresh(tmp_path)
    lane = LaneWriter(folder, "bulk", segment)
    for line in lines:
        lane.append(line)
    dropped, start = 0, 0
    for _ in range(drops):
        count, start = lane.drop_oldest(start)
        dropped += count
    whole_end = lane.end_bytes
    lane.close()
    rest = b"".join(lines[dropped:])
    assert segments(folder, "bulk")[0].start_bytes == start
    data, end, skipped = read_all(folder, limit)
    assert data == rest
    if rest:
        assert (end, skipped) == (whole_end, whole_end - len(rest))


def test_lines_that_were_delivered_do_not_count_as_dropped(tmp_path: Path) -> None:
    """Of a dropped segment only what lies behind the acknowledged offset is lost."""
    lane = LaneWriter(tmp_path, "bulk", 30)
    for line in (b"l1234567\n", b"l2345678\n", b"l3456789\n", b"l4567890\n", b"l5678901\n"):
        lane.append(line)
    assert lane.drop_oldest(18) == (2, 36)
    assert lane.drop_oldest(36) == (0, 36), "the open segment is never dropped"
    lane.close()


def test_the_reader_follows_a_writer(tmp_path: Path) -> None:
    """What is appended after a read comes with the next one, over segment borders."""
    lane = LaneWriter(tmp_path, "bulk", 20)
    data, start = b"", 0
    for number in range(50):
        lane.append(b"l%d\n" % number)
        more, start, _ = read_all(tmp_path, 7, start=start, is_ended=False)
        data += more
    assert data == b"".join(b"l%d\n" % number for number in range(50))
    assert read_chunk(tmp_path, "bulk", start, limit_bytes=10, is_ended=False) is None
    lane.close()


def test_a_line_longer_than_the_limit_is_read_whole(tmp_path: Path) -> None:
    """A single long line does not block the lane."""
    lane = LaneWriter(tmp_path, "bulk", 1 << 20)
    long = b"l" + b"x" * 100_000 + b"\n"
    lane.append(long)
    lane.append(b"lshort\n")
    chunk = read_chunk(tmp_path, "bulk", 0, limit_bytes=64, is_ended=False)
    assert chunk is not None
    assert chunk.data.startswith(long)
    lane.close()


def test_segments_are_readable_by_the_user_alone(tmp_path: Path) -> None:
    """Rows may hold secrets: no segment can be read by others, whatever the umask."""
    before = os.umask(0)
    try:
        lane = LaneWriter(tmp_path, "bulk", 10)
        for _ in range(5):
            lane.append(b"l12345678\n")
    finally:
        os.umask(before)
    lane.close()
    found = segments(tmp_path, "bulk")
    assert len(found) == 5
    assert {stat.S_IMODE(one.path.stat().st_mode) for one in found} == {0o600}


def test_foreign_files_in_a_stream_are_no_segments(tmp_path: Path) -> None:
    """Only names of the lane's own form count."""
    for name in ("bulk-x.seg", "bulk-1.tmp", "keep-00000000000000000000.seg", "bulk-.seg", "seg"):
        (tmp_path / name).touch()
    assert segments(tmp_path, "bulk") == []
    assert segments(tmp_path / "gone", "bulk") == []
    assert segment_path(tmp_path, "bulk", 7).name == "bulk-00000000000000000007.seg"


def test_interrupts_leave_the_offsets_right(tmp_path: Path) -> None:
    """Ctrl-C at any moment of a write may cost that line, but no other: later segments still start where they say."""

    is_inside = False

    def interrupt(_signal: int, _frame: object) -> None:
        nonlocal is_inside
        if is_inside:
            is_inside = False  # once for each write, so that none falls into the handling of another
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    lane = LaneWriter(tmp_path, "bulk", 400)
    returned: list[bytes] = []
    number = interrupts = 0
    deadline = time.monotonic() + 10
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.00031)
    try:
        while interrupts < 200 and time.monotonic() < deadline:
            number += 1
            line = b"l%06d %s\n" % (number, b"x" * (number % 50))
            try:
                is_inside = True
                lane.append(line)
                is_inside = False
                returned.append(line)
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts
    whole_end = lane.end_bytes
    lane.close()
    data, end, skipped = read_all(tmp_path, 1000)
    got = data.splitlines(keepends=True)
    assert (end, skipped) == (whole_end, 0)
    assert len(set(got)) == len(got)
    assert set(returned) <= set(got)
    assert got == sorted(got)
