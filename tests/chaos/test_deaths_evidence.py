"""What a process leaves for its certificate never changes how it lives and dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pipespan.record.oomcount import own_cgroup, read_cgroup

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes by /proc"),
]

LIMIT_BYTES = 256 << 20


@pytest.fixture
def small_cgroup():
    """Make a memory group below our own, with a limit; where we may not, the test has nothing to stand on."""
    parent = own_cgroup()
    if parent is None or os.geteuid() != 0:
        pytest.skip("no memory cgroup that this user may make")
    # Version 1 lets a process and its child groups share a group; version 2 wants an inner one without processes.
    folder = parent / f"pipespan-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
        is_v1 = (folder / "memory.limit_in_bytes").exists()
        (folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield folder
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        try:
            folder.rmdir()
        except OSError:  # the killed ones are still being taken out
            time.sleep(0.05)


HOG = """
hog = []
def how():
    while True:
        hog.append(bytearray(1 << 20))
with open({procs!r}, "w") as file:
    file.write(str(os.getpid()))
fall(how)
"""


def test_an_oom_kill_is_told_by_the_groups_own_count(ward, small_cgroup):
    """The kernel's count of the very group that the process was in, together with SIGKILL: out of memory."""
    child = ward.start(HOG.format(procs=str(small_cgroup / "cgroup.procs")))
    ward.until_ready(child)
    assert child.wait(30) == -signal.SIGKILL
    details = ward.death()["details"]
    assert details["cause"] == "oom-killed"
    assert details["evidence"]["cgroup_oom_kills"] == 1
    assert details["samples"][-1]["cgroup"] == str(small_cgroup)
    assert details["samples"][-1]["cgroup_limit_bytes"] == LIMIT_BYTES


def test_a_neighbours_oom_kill_is_not_ours(ward, small_cgroup):
    """Killed by hand, while another process of another group ran out of memory: not the same death."""
    child = ward.start("fall(lambda: time.sleep(60))")
    ward.until_ready(child)
    procs = str(small_cgroup / "cgroup.procs")
    neighbour = f"open({procs!r}, 'w').write(str(__import__('os').getpid())); b = []\n"
    neighbour += "while True: b.append(bytearray(1 << 20))"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", neighbour]) == -signal.SIGKILL
    found = read_cgroup(small_cgroup)
    assert found is not None
    assert found.oom_kills == 1
    child.kill()
    assert ward.death()["details"]["cause"] == "killed"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGXCPU"])
def test_a_deadly_signal_is_as_deadly_and_as_fast(ward, name):
    """The exit status is the signal's own, and it comes at once."""
    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    before = time.monotonic()
    child.send_signal(getattr(signal, name))
    assert child.wait(10) == -getattr(signal, name)
    assert time.monotonic() - before < 1.0


def test_a_users_handler_is_the_users(ward):
    """Handlers set before and after are called, and put back what they found as ever."""
    source = """
    heard = []
    signal.signal(signal.SIGHUP, lambda *_: heard.append("before"))
    def how():
        was = signal.signal(signal.SIGTERM, lambda *_: heard.append("after"))
        os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.1)
        print(was is signal.SIG_DFL, heard)
    fall(how)
    signal.raise_signal(signal.SIGHUP)
    print(heard)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    """
    child = ward.start(source, PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    assert out == "True ['after', 'before']\n['after', 'before', 'before']\n"
    assert ward.job()["status"] == "completed"


def test_a_forked_child_dies_its_own_death(ward):
    """A child killed by SIGTERM leaves nothing in its parent's evidence, whatever it did before."""
    source = """
    def how():
        for has_step in (False, True):
            pid = os.fork()
            if not pid:
                if has_step:
                    pipespan.step("own").__enter__()
                    pipespan.flush(5)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            print(os.waitpid(pid, 0)[1], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    fall(how)
    """
    child = ward.start(source, PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, out.split()) == (-9, ["15", "15"])
    from pipespan.wiring.ship import ship

    ship(ward.settings(), 20)
    ward.death(deaths=2)
    found = ward.rows("select cause from processing_jobs order by started_at")
    assert [row["cause"] for row in found] == ["vanished", "signal:SIGTERM"]


def test_the_users_own_fault_handler_is_left_alone(ward):
    """Who has enabled `faulthandler` gets the stack where they wanted it."""
    child = ward.start("fall(lambda: ctypes.string_at(0))", PYTHONFAULTHANDLER="1")
    ward.until_ready(child)
    _, err = child.communicate(timeout=20)
    assert "Fatal Python error: Segmentation fault" in err
    assert ward.death()["details"]["cause"] == "segfault"


def test_the_watcher_holds_nothing_of_its_starter(ward):
    """No terminal, no pipe, no folder, no parent: it is a process of its own session, and a small one."""
    from tests.chaos.patients import watchers_of

    child = ward.start("fall(lambda: None)")
    ward.until_ready(child)
    (pid,) = watchers_of(ward.state_dir)
    place = Path(f"/proc/{pid}")
    stat = place.joinpath("stat").read_text().rpartition(")")[2].split()
    parent, session, terminal = int(stat[1]), int(stat[3]), int(stat[4])
    assert parent not in (child.pid, os.getpid())
    assert session not in (os.getsid(child.pid), os.getsid(0))
    assert terminal == 0
    assert place.joinpath("cwd").readlink() == Path("/")
    assert {str((place / "fd" / str(fd)).readlink()) for fd in range(3)} == {"/dev/null"}
    assert not any("pipe:" in str(fd.readlink()) for fd in (place / "fd").iterdir())
    memory_kb = int(place.joinpath("status").read_text().partition("VmRSS:")[2].split()[0])
    assert (
        memory_kb < 60_000
    )  # the larger half of it is the driver of the database, by which it ships for others
    assert b"PIPESPAN_DSN" not in place.joinpath("cmdline").read_bytes()
    child.wait(20)


def test_one_watcher_for_many(ward):
    """Further processes find the watcher that runs."""
    from tests.chaos.patients import watchers_of

    children = [ward.start("fall(lambda: None)") for _ in range(3)]
    for child in children:
        ward.until_ready(child)
    for child in children:
        assert child.wait(20) == 0
    # Of those that were started at the same moment all but one end again.
    ward.eventually(lambda: len(watchers_of(ward.state_dir)) == 1 or None)


def test_a_watcher_that_cannot_be_started_is_no_trouble(ward):
    """Without processes to be had the program runs as ever, and says nothing."""
    source = """
    import subprocess as real
    def refuse(*_, **__): raise BlockingIOError(11, "Resource temporarily unavailable")
    real.Popen = refuse
    fall(lambda: None)
    """
    child = ward.start(source)
    ward.until_ready(child, is_watched=False)
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")


def test_a_process_that_was_hanging_in_c_code_when_it_died(ward):
    """What the timer in C wrote while the interpreter was held is part of the evidence."""
    child = ward.start(
        """
        def hold():
            ctypes.PyDLL(None).sleep(600)
        def how():
            time.sleep(1)
            hold()
        fall(how)
        """,
        PIPESPAN_HANG_TIMER_S="2",
    )
    ward.until_ready(child)
    ward.eventually(
        lambda: next((path for path in ward.spool_dir.glob("*/hang*") if path.stat().st_size), None)
    )
    time.sleep(0.05)
    child.kill()
    child.wait(10)
    evidence = ward.death()["details"]["evidence"]
    assert "in hold" in evidence["interpreter_held"]
