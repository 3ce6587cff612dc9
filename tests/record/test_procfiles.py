"""What Linux tells of this process by files that stay open is what psutil finds out anew each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipespan.record.descriptors import LEAST_FD, open_high
from pipespan.record.oomcount import CgroupFiles, read_cgroup
from pipespan.record.procfiles import ProcFiles
from pipespan.record.resources import usage_by_psutil

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

ODD_NAME = """
import json, sys
from pathlib import Path
from pipespan.record.procfiles import ProcFiles
Path("/proc/self/comm").write_text("a) R 1 (b")
usage = ProcFiles().usage()
print(json.dumps([usage.threads, usage.rss_bytes > 1_000_000, usage.user_s < 60]))
"""


def test_the_figures_are_those_of_psutil() -> None:
    """Each of them, but for what changes between the two looks."""
    files = ProcFiles()
    try:
        found, known = files.usage(), usage_by_psutil(psutil.Process())
        assert found.rss_bytes == pytest.approx(known.rss_bytes, rel=0.05)
        assert files.rss_bytes() == pytest.approx(known.rss_bytes, rel=0.05)
        assert found.vms_bytes == pytest.approx(known.vms_bytes, rel=0.05)
        assert found.user_s == pytest.approx(known.user_s, abs=0.1)
        assert found.system_s == pytest.approx(known.system_s, abs=0.1)
        assert found.threads == known.threads
        assert found.read_bytes == pytest.approx(known.read_bytes, abs=1 << 20)
        assert found.open_fds == pytest.approx(known.open_fds, abs=1)  # psutil's own look is among them
    finally:
        files.close()


CLOSED = """
import json, os, time
from pipespan.record.resources import ResourceReader
reader, other = ResourceReader(), ResourceReader()
os.closerange(3, 1000)
if {are_taken}:
    for number in range(3, 300):
        os.dup2(os.open(os.devnull, os.O_RDONLY), number)
print(json.dumps([reader.sample().memory_rss_bytes, reader.sample().open_fds, other.memory_bytes(time.time_ns())]))
reader.close()
if {are_taken}:
    os.fstat(250)
"""


@pytest.mark.parametrize("are_taken", [False, True], ids=["closed", "taken by others"])
def test_a_program_that_closes_all_files_is_sampled_all_the_same(are_taken: bool) -> None:
    """As daemons do: its heartbeats come with the samples, and without them it would be taken for dead."""
    told = subprocess.run(
        [sys.executable, "-c", CLOSED.format(are_taken=are_taken)], check=True, capture_output=True, text=True
    ).stdout
    assert all(figure > 0 for figure in json.loads(told))


def test_open_files_are_counted() -> None:
    """One more is one more."""
    files = ProcFiles()
    try:
        before = files.usage().open_fds
        with Path(os.devnull).open("rb"):
            assert before is not None
            assert files.usage().open_fds == before + 1
    finally:
        files.close()


def test_a_name_that_looks_like_figures_does_no_harm() -> None:
    """The name of a process stands in the midst of the line, and may be anything."""
    told = subprocess.run([sys.executable, "-c", ODD_NAME], check=True, capture_output=True, text=True).stdout
    assert json.loads(told) == [1, True, True]


def test_what_is_held_open_is_out_of_the_way() -> None:
    """A program that closes low numbers, as daemons do, does not meet ours; and each is given back."""
    before = psutil.Process().num_fds()
    files = ProcFiles()
    held = [
        int(name)
        for name in os.listdir("/proc/self/fd")
        if _path_of(name).startswith(f"/proc/{os.getpid()}/")
    ]
    assert len([fd for fd in held if fd >= LEAST_FD]) >= 3
    files.close()
    assert psutil.Process().num_fds() == before


def _path_of(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_a_file_that_is_not_there_is_an_error() -> None:
    """And leaves nothing open."""
    before = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        open_high("/nowhere/at/all")
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        pytest.param(
            {
                "memory.events.local": "low 0\noom 3\noom_kill 2\n",
                "memory.max": "max\n",
                "memory.current": "7\n",
            },
            (2, None, 7),
            id="version 2, no limit",
        ),
        pytest.param(
            {"memory.events.local": "oom_kill 0\n", "memory.max": "4096\n"},
            (0, 4096, None),
            id="version 2, bare",
        ),
        pytest.param(
            {
                "memory.oom_control": "oom_kill_disable 0\noom_kill 5\n",
                "memory.limit_in_bytes": "9223372036854771712\n",
                "memory.usage_in_bytes": "12\n",
            },
            (5, None, 12),
            id="version 1, no limit",
        ),
        pytest.param({"memory.events.local": "low 0\n"}, None, id="counts no kills"),
        pytest.param({}, None, id="nothing there"),
    ],
)
def test_a_control_group_is_read(
    tmp_path: Path, files: dict[str, str], wanted: tuple[int, int | None, int | None] | None
) -> None:
    """Of either version, whatever is missing."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = read_cgroup(tmp_path)
    assert (found and (found.oom_kills, found.limit_bytes, found.used_bytes)) == wanted


def test_a_control_group_that_stays_open_tells_what_is_new(tmp_path: Path) -> None:
    """Each reading is a fresh one."""
    events = tmp_path / "memory.events.local"
    events.write_text("oom_kill 0\n")
    files = CgroupFiles(tmp_path)
    try:
        events.write_text("oom_kill 1\n")
        found = files.read()
        assert found is not None
        assert found.oom_kills == 1
    finally:
        files.close()
