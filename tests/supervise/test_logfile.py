"""The JSON-lines file of a command: rotated, bounded, and read without a gap."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipespan.supervise.logfile import JsonLinesLog, LogPlace, LogReader, all_lines

texts = st.lists(st.text(max_size=60), max_size=20)


def place(folder: Path, **options: int) -> LogPlace:
    return LogPlace(folder / "logs" / "x.jsonl", **options)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(texts, st.booleans()), max_size=15))
def test_a_reader_sees_each_line_once_whatever_is_rotated_meanwhile(tmp_path_factory, pieces):
    """Text of any kind comes back as it was, in its order, as long as the files are kept."""
    where = place(tmp_path_factory.mktemp("log"), max_bytes=700, max_files=200)
    log, reader = JsonLinesLog(where), LogReader(where)
    seen: list[str] = []
    for lines, is_read in pieces:
        log.write(1, "stdout", lines)
        if is_read:
            seen += [line.message for line in reader.read_new()]
    seen += [line.message for line in reader.read_new()]
    reader.close()
    log.close()
    assert seen == [text for lines, _ in pieces for text in lines]
    assert [line.message for line in all_lines(where)] == seen


def test_the_files_are_bounded_in_size_and_number(tmp_path):
    """No more files than asked for, none much larger than asked for, the newest lines kept, all private."""
    where = place(tmp_path, max_bytes=2000, max_files=3)
    log = JsonLinesLog(where)
    for number in range(200):
        log.write(1, "stdout", [f"line {number}"])
    log.close()
    files = sorted(where.path.parent.iterdir())
    assert [file.name for file in files] == ["x.jsonl", "x.jsonl.1", "x.jsonl.2"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE(where.path.parent.stat().st_mode) == 0o700
    kept = [line.message for line in all_lines(where)]
    assert kept[-1] == "line 199"
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]


def test_a_line_is_an_object_of_its_own(tmp_path):
    """Time, stream, attempt and message, for any program that reads JSON lines."""
    where = place(tmp_path)
    log = JsonLinesLog(where)
    log.write(2, "stderr", ["one\ttwo \x1b[31m"])
    log.close()
    (text,) = where.path.read_text().splitlines()
    document = json.loads(text)
    assert (document["stream"], document["attempt"], document["message"]) == (
        "stderr",
        2,
        "one\ttwo \x1b[31m",
    )
    assert document["time"].endswith("+00:00")


def test_a_file_that_is_moved_or_removed_by_others_is_begun_anew(tmp_path):
    """logrotate and rm are survived."""
    where = place(tmp_path)
    log = JsonLinesLog(where)
    log.write(1, "stdout", ["a"])
    where.path.rename(tmp_path / "moved")
    log.write(1, "stdout", ["b"])
    where.path.unlink()
    where.path.parent.rmdir()
    log.write(1, "stdout", ["c"])
    log.close()
    assert [line.message for line in all_lines(where)] == ["c"]
    assert log.lost_lines == 0


def test_a_place_that_cannot_be_written_to_costs_the_lines_only(tmp_path):
    """They are counted, nothing is raised, and it goes on as soon as it can."""
    where = place(tmp_path)
    where.path.parent.write_text("a file where the folder should be")
    log = JsonLinesLog(where)
    log.write(1, "stdout", ["a", "b"])
    assert (log.lost_lines, isinstance(log.trouble, OSError)) == (2, True)
    where.path.parent.unlink()
    log.write(1, "stdout", ["c"])
    log.close()
    assert [line.message for line in all_lines(where)] == ["c"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_a_full_disk_costs_the_lines_only(tmp_path):
    """The command goes on while its lines have nowhere to go."""
    where = place(tmp_path)
    where.path.parent.mkdir()
    where.path.symlink_to("/dev/full")
    log = JsonLinesLog(where)
    log.write(1, "stdout", ["a"])
    assert log.lost_lines == 1
    log.close()


def test_what_is_no_json_is_shown_as_it_is(tmp_path):
    """A torn line hides nothing."""
    where = place(tmp_path)
    where.path.parent.mkdir()
    where.path.write_bytes(b'{"time": "2026\nnull\n\xff\n')
    assert [line.message for line in all_lines(where)] == ['{"time": "2026', "null", "�"]
