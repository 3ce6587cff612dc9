"""Each way to end is told within ten seconds, on its own: by the process itself, or by the watcher."""

from __future__ import annotations

import os
import signal
import sys

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes by /proc"),
]

OPEN_NODES = ["patient", "patient/load", "patient/load/shard"]


def check_certificate(ward, event, cause, *, status="failed", found_by="the watcher"):
    """Check that job, experiment, nodes and event tell the same."""
    details, job = event["details"], ward.job()
    assert (job["status"], job["cause"]) == (status, cause)
    assert ward.experiment_status() == status
    assert ward.statuses() == dict.fromkeys(OPEN_NODES, status)
    assert (details["cause"], details["found_by"]) == (cause, found_by)
    assert len(details["last_logs"]) == len(job["log_messages"]) == 50
    assert job["ended_at"] is not None
    assert details["samples"]
    return details


def check_open_nodes(details):
    assert [node["node_id"] for node in details["open_nodes"]] == OPEN_NODES
    assert details["open_nodes"][-1]["completed"] == 3
    assert details["last_logs"][-1] == "INFO line 59"


def test_a_normal_end_is_no_death(ward):
    """A pipeline that comes to its end writes no death event."""
    code, err = ward.run("fall(lambda: None)")
    assert (code, err) == (0, "")
    job = ward.job()
    assert (job["status"], job["cause"], ward.experiment_status()) == ("completed", "return", "completed")
    assert ward.rows("select * from pipeline_events") == []


@pytest.mark.parametrize(
    ("how", "code", "cause", "status", "exit_code"),
    [
        ("int('x')", 1, "ValueError", "failed", None),
        ("sys.exit(3)", 3, "exit", "failed", 3),
        ("sys.exit('no disk')", 1, "exit", "failed", 1),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT, "KeyboardInterrupt", "cancelled", None),
    ],
)
def test_what_python_sees_is_told_by_the_process_itself(ward, how, code, cause, status, exit_code):
    """Exceptions, sys.exit and Ctrl-C are told by the process, with the exit code where Python knows it."""
    got, _ = ward.run(f"fall(lambda: {how})")
    assert got == code
    details = check_certificate(ward, ward.death(), cause, status=status, found_by="the process itself")
    assert details["exit_code"] == ward.job()["exit_code"] == exit_code


@pytest.mark.parametrize(
    ("how", "code", "cause", "seen"),
    [
        ("os._exit(7)", 7, "os-exit", {"exit_code": 7}),
        ("os.kill(os.getpid(), 9)", -9, "killed", {"exit_signal": 9}),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15, "signal:SIGTERM", {"exit_signal": 15}),
        ("os.kill(os.getpid(), signal.SIGHUP)", -1, "signal:SIGHUP", {"exit_signal": 1}),
        ("os.kill(os.getpid(), signal.SIGUSR1)", -10, "signal:SIGUSR1", {"exit_signal": 10}),
        ("ctypes.string_at(0)", -11, "segfault", {"exit_signal": 11}),
        ("os.abort()", -6, "abort", {"exit_signal": 6}),
    ],
)
def test_sudden_deaths_are_told_by_the_watcher(ward, how, code, cause, seen):
    """Whatever leaves the process no time to speak: the watcher tells cause, exit status and what was open."""
    got, _ = ward.run(f"fall(lambda: {how})")
    assert got == code
    details = check_certificate(ward, ward.death(), cause)
    check_open_nodes(details)
    for name, value in seen.items():
        assert details[name] == ward.job()[name] == value
    assert not any(ward.spool_dir.iterdir())


@pytest.mark.parametrize("how", ["ctypes.string_at(0)", "os.abort()", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_the_stack_of_a_crash_is_in_the_record(ward, how):
    """The stack at the moment of death is part of the evidence, and the terminal sees nothing of it."""
    _, err = ward.run(f"def deep_down():\n    {how}\nfall(deep_down)")
    assert "deep_down" not in err
    assert "in deep_down" in ward.death()["details"]["evidence"]["stack"]


def test_a_stack_overflow_is_told_from_a_segfault(ward):
    """Endless recursion past Python's own guard is called what it is."""
    source = """
    sys.setrecursionlimit(10**9)
    class Endless:
        def __getattr__(self, name):
            return getattr(self, name + "x")
    fall(lambda: Endless().a)
    """
    code, _ = ward.run(source)
    assert code in (-signal.SIGSEGV, -signal.SIGABRT)
    check_certificate(ward, ward.death(), "stack-overflow")


def test_without_an_exit_status_what_the_process_left_tells(ward):
    """Nobody saw how it ended, as on older kernels: the stack at SIGTERM still names the signal."""
    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM
    details = check_certificate(ward, look(ward), "signal:SIGTERM", found_by="`pipespan ship` or a reader")
    assert details["exit_signal"] is None
    assert "in fall" in details["evidence"]["stack"]


def test_a_kill_that_nobody_saw_is_not_guessed_at(ward):
    """Gone without a trace is called vanished, never out of memory."""
    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    child.kill()
    child.wait(10)
    check_certificate(ward, look(ward), "vanished", found_by="`pipespan ship` or a reader")


def look(ward):
    """Do what a reading command does before it reads; return the event of the death."""
    from pipespan.wiring.ship import ship

    ship(ward.settings(), 20)
    return ward.death()


def test_a_paused_process_is_not_dead(ward):
    """Silence is no death: a process that is stopped keeps its lock, and lives on when it is continued."""
    child = ward.start("fall(lambda: time.sleep(3))")
    ward.until_ready(child)
    child.send_signal(signal.SIGSTOP)
    look_for_nothing(ward)
    child.send_signal(signal.SIGCONT)
    assert child.wait(30) == 0
    assert ward.job()["status"] == "completed"


def look_for_nothing(ward):
    from pipespan.wiring.ship import ship

    assert ship(ward.settings(), 20).waiting_streams == 0
    assert ward.rows("select * from pipeline_events") == []
    assert ward.job()["status"] == "running"


def test_the_whole_process_group_killed(ward):
    """Parent and child killed together leave two certificates."""
    source = """
    def how():
        child = (
            "import pipespan, time\\n"
            "with pipespan.step('inner'): pipespan.flush(10); print('ready', flush=True); time.sleep(60)"
        )
        subprocess.run([sys.executable, "-c", child], env=pipespan.child_env())
    fall(how)
    """
    child = ward.start(source)
    ward.until_ready(child)
    ward.until_ready(child, is_watched=False)
    ward.eventually(lambda: len(ward.rows("select * from processing_jobs")) == 2 or None)
    os.killpg(child.pid, signal.SIGKILL)
    ward.death(deaths=2)
    assert {row["cause"] for row in ward.rows("select cause from processing_jobs")} <= {"killed", "vanished"}
    assert set(ward.statuses().values()) == {"failed"}


def test_a_pool_worker_dies_while_the_rest_goes_on(ward):
    """The worker's job gets its certificate, the pipeline completes."""
    source = """
    import concurrent.futures
    def die(_):
        with pipespan.step("task"):
            pipespan.flush(5)
            os.kill(os.getpid(), 9)
    def how():
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                pool.submit(pipespan.wrap(die), 1).result()
            except concurrent.futures.process.BrokenProcessPool:
                pass
        time.sleep(4)
    if __name__ == "__main__":
        fall(how)
    """
    code, _ = ward.run(source)
    assert code == 0
    assert ward.death()["details"]["cause"] in ("killed", "vanished")
    found = ward.rows("select status, parent_job_id from processing_jobs order by started_at")
    assert [row["status"] for row in found] == ["completed", "failed"]
    assert ward.experiment_status() == "completed"


def test_children_live_on_when_their_parent_dies(ward):
    """The parent's death ends its own nodes; the child's job stays alive and completes."""
    source = """
    def how():
        child = (
            "import pipespan, time, os\\n"
            "with pipespan.step('inner'):\\n"
            "    pipespan.flush(10); print('ready', flush=True)\\n"
            "    while not os.path.exists('go'): time.sleep(0.05)\\n"
        )
        subprocess.Popen([sys.executable, "-c", child], env=pipespan.child_env(), start_new_session=True)
        time.sleep(60)
    fall(how)
    """
    child = ward.start(source)
    ward.until_ready(child)
    ward.until_ready(child, is_watched=False)
    child.kill()
    ward.death()
    jobs = ward.rows("select status from processing_jobs order by started_at")
    assert [row["status"] for row in jobs] == ["failed", "running"]
    (ward.folder / "go").touch()
    ward.eventually(
        lambda: ward.rows("select * from processing_jobs where status = 'completed'") or None, limit_s=15
    )
    assert ward.experiment_status() == "failed"
    assert ward.death()["details"]["cause"] == "killed"


def test_a_reboot_is_told_by_the_next_who_looks(ward):
    """Another boot id than the stream's is proof enough."""
    import json

    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    child.kill()
    child.wait(10)
    (folder,) = ward.spool_dir.iterdir()
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "boot_id": "another"}))
    details = check_certificate(ward, look(ward), "reboot", found_by="`pipespan ship` or a reader")
    assert details["evidence"]["boot_id_then"] == "another"


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"pid_namespace": "pid:[1]"}, {"boot_id": None}])
def test_what_cannot_be_looked_at_is_not_certified(ward, change):
    """Another host, another container, an unknown boot: the rows are delivered, the verdict is left to others."""
    import json

    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    child.kill()
    child.wait(10)
    (folder,) = ward.spool_dir.iterdir()
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **change}))
    look_for_nothing(ward)


def test_two_who_find_a_death_at_once_write_it_once(ward):
    """Finders race; the ledger lets one of them write."""
    import threading

    from pipespan.wiring.ship import ship

    child = ward.start("fall(lambda: time.sleep(60))", PIPESPAN_WATCHER="0")
    ward.until_ready(child, is_watched=False)
    child.kill()
    child.wait(10)
    finders = [threading.Thread(target=ship, args=(ward.settings(), 20)) for _ in range(4)]
    for finder in finders:
        finder.start()
    for finder in finders:
        finder.join()
    ward.death(deaths=1)
