"""What is new in a lane is read as from its files, and with next to no system calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.spool.lane import LaneWriter
from pipespan.spool.layout import segments
from pipespan.spool.reader import drop_shipped, read_chunk
from pipespan.spool.tail import FIRST_READ_BYTES, Tail

lines = st.binary(max_size=40).map(lambda raw: b"l" + raw.replace(b"\n", b"?") + b"\n")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(lines | st.integers(1, 300), max_size=60), segment=st.integers(1, 200))
def test_it_reads_what_the_files_have(tmp_path: Path, moves: list[bytes | int], segment: int) -> None:
    """Whenever it is asked between writes, whatever segments there are; and no older segment is left behind."""
    folder = tmp_path / str(len(os.listdir(tmp_path)))
    folder.mkdir()
    lane = LaneWriter(folder, "bulk", segment)
    tail = Tail(folder, "bulk", lambda: lane.open_bytes)
    written, read = b"", b""
    for move in [*moves, *[300] * 10]:
        if isinstance(move, bytes):
            lane.append(move)
            written += move
        else:
            found = tail.read(len(read), move)
            expected = read_chunk(folder, "bulk", len(read), limit_bytes=move, is_ended=False)
            assert (found is None) == (expected is None) == (len(read) == len(written))
            if found is not None and expected is not None:
                read += found.data
                assert (found.data, found.end_bytes) == (expected.data, len(read))
                assert not found.is_last or read == written
                if not found.is_alone:
                    drop_shipped(folder, "bulk", len(read))
    assert read == written
    assert len(segments(folder, "bulk")) == 1
    tail.close()
    lane.close()


def test_what_is_new_takes_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call gives the interpreter away; a busy program gives it back late."""
    lane = LaneWriter(tmp_path, "keep", 1 << 20)
    tail = Tail(tmp_path, "keep", lambda: lane.open_bytes)
    lane.append(b"lone\n")
    assert tail.read(0, 1 << 20) is not None
    calls: list[int] = []
    pread = os.pread

    def counted(fd: int, size_bytes: int, place_bytes: int, /) -> bytes:
        calls.append(size_bytes)
        return pread(fd, size_bytes, place_bytes)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr(os, "pread", counted)
    for name in ("open", "listdir", "stat", "fstat", "scandir"):
        monkeypatch.setattr(os, name, never)
    lane.append(b"ltwo\n")
    found = tail.read(5, 1 << 20)
    assert found is not None
    assert (found.data, found.is_last) == (b"ltwo\n", True)
    assert calls == [FIRST_READ_BYTES]
    monkeypatch.undo()
    tail.close()
    lane.close()


def test_much_is_read_whole(tmp_path: Path) -> None:
    """Up to the limit, and a line that is longer than the limit too."""
    lane = LaneWriter(tmp_path, "keep", 1 << 30)
    tail = Tail(tmp_path, "keep", lambda: lane.open_bytes)
    line = b"l" + b"x" * 998 + b"\n"
    for _ in range(200):
        lane.append(line)
    found = tail.read(0, 150_000)
    assert found is not None
    assert (len(found.data), found.is_last) == (150_000, False)
    found = tail.read(150_000, 150_000)
    assert found is not None
    assert (len(found.data), found.is_last) == (50_000, True)
    found = tail.read(0, 10)
    assert found is not None
    assert found.data[:1000] == line
    tail.close()
    lane.close()
