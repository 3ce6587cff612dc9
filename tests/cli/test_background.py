"""`pipespan run --detach` and what looks after it: real processes, real signals, a real database."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.cli.test_run import environment, pipespan
from tests.fixtures.dispositions import restore_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no background on Windows")

MAX_SUPERVISOR_BYTES = 40_000_000
WAIT_S = 20.0


def eventually(holds: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Return what `holds` returns as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)
    return found


class Background:
    """The command line over one state folder."""

    def __init__(self, dsn: str | None, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.environ = environment(dsn, tmp_path, PIPESPAN_EXIT_TIMEOUT_S="10")

    def __call__(self, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            pipespan(*args), env={**self.environ, **more}, capture_output=True, text=True, timeout=50, check=False,
            cwd=self.tmp_path, preexec_fn=restore_signals,
        )  # fmt: skip

    def start(self, name: str, *args: str, **more: str) -> dict[str, Any]:
        done = self("run", "--detach", "--name", name, *args, **more)
        assert done.returncode == 0, done.stderr
        return self.find(name)

    def ps(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self("ps", "--all", "--json").stdout.splitlines()]

    def find(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.ps() if one["name"] == name]
        return found

    def entry(self, name: str) -> dict[str, Any]:
        """Return what the registry has, without anybody mending it."""
        try:
            return json.loads((self.tmp_path / "state/processes" / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {"state": "unreadable"}

    def wait_for(self, name: str, *states: str) -> dict[str, Any]:
        eventually(lambda: self.entry(name)["state"] in states)
        return self.find(name)

    def wait_for_end(self, name: str) -> dict[str, Any]:
        found = self.wait_for(name, "completed", "failed", "cancelled", "dead")
        eventually(lambda: self.find(name)["supervisor_pid"] is None)
        identity = self.entry(name)["supervisor"]
        eventually(lambda: not is_there(identity["pid"]))
        return found


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def background(dsn, tmp_path):
    """Give the command line; whatever is left in the background is ended."""
    called = Background(dsn, tmp_path)
    yield called
    for path in (tmp_path / "state/processes").glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            entry = json.loads(path.read_text())
            for identity in (entry["supervisor"], entry["child"]):
                if identity is not None and identity["boot_id"] and is_there(identity["pid"]):
                    with contextlib.suppress(OSError):
                        os.killpg(os.getpgid(identity["pid"]), signal.SIGKILL)


@pytest.fixture
def rows(dsn):
    """Read rows of the test's database."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield lambda query: connection.execute(query).fetchall()


def test_a_command_in_the_background_is_an_experiment(background, rows, tmp_path):
    """It starts at once, stands in the list, has a pid file, and its end is recorded."""
    done = background(
        "run",
        "--detach",
        "--name",
        "web",
        "--",
        "sh",
        "-c",
        "echo one; echo two >&2; while ! test -e go; do sleep 0.05; done",
    )
    assert done.returncode == 0
    assert done.stdout.startswith("web: process ")
    found = background.find("web")
    assert (found["state"], found["attempt"], found["argv"][0]) == ("running", 1, "sh")
    assert (tmp_path / "state/processes/web.pid").read_text() == f"{found['supervisor_pid']}\n"
    (tmp_path / "go").touch()
    ended = background.wait_for_end("web")
    assert (ended["state"], ended["attempts"][0]["stderr_tail"]) == ("completed", ["two"])
    assert not (tmp_path / "state/processes/web.pid").exists()
    (experiment,) = rows("select * from experiments")
    assert (str(experiment["id"]), experiment["name"], experiment["status"]) == (
        ended["experiment_id"], "web", "completed",
    )  # fmt: skip
    assert {row["message"] for row in rows("select message from pipeline_logs")} == {"one", "two"}


@pytest.mark.parametrize("ending", ["hangup", "group"])
def test_it_survives_the_terminal_and_the_logout(background, tmp_path, ending):
    """The session's leader dies, the terminal hangs up, the group of the shell is killed: it goes on."""
    pid, ours = pty.fork()
    if pid == 0:
        restore_signals()
        os.chdir(tmp_path)
        wait = "while ! test -e go; do sleep 0.05; done; echo done"
        script = f"{sys.executable} -m pipespan run --detach --name far -- sh -c '{wait}'; echo ready; cat"
        os.execve("/bin/sh", ["sh", "-c", script], background.environ)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 1000)
    if ending == "group":
        os.killpg(pid, signal.SIGKILL)
    os.close(ours)  # the hang-up
    os.waitpid(pid, 0)
    assert background.find("far")["state"] == "running"
    (tmp_path / "go").touch()
    assert background.wait_for_end("far")["state"] == "completed"
    assert background("logs", "--process", "far").stdout.split()[3] == "done"


def test_its_processes_belong_to_nobody_here(background):
    """Supervisor and command have sessions of their own, and neither has a terminal."""
    found = background.start("own", "--", "sleep", "60")
    here = os.getsid(0)
    sessions = {os.getsid(found["pid"]), os.getsid(found["supervisor_pid"])}
    assert len(sessions) == 2
    assert here not in sessions
    assert os.getsid(found["supervisor_pid"]) != found["supervisor_pid"]
    assert psutil.Process(found["supervisor_pid"]).terminal() is None


def test_a_hang_up_means_nothing_to_the_supervisor(background):
    """SIGHUP reaches neither it nor, by it, the command."""
    found = background.start("deaf", "--", "sleep", "60")
    os.kill(found["supervisor_pid"], signal.SIGHUP)
    time.sleep(0.05)
    assert background.find("deaf")["state"] == "running"


DISPOSITIONS = (
    "from signal import *\n"
    "found = [getsignal(one) for one in (SIGINT, SIGQUIT, SIGHUP, SIGTERM)]\n"
    "print(*(getattr(one, 'name', 'default_int_handler') for one in found))"
)


@pytest.mark.parametrize(("ignored", "expected"), [("INT QUIT", "SIG_DFL"), ("INT QUIT HUP", "SIG_IGN")])
def test_a_shells_ignored_keys_do_not_reach_the_command(background, tmp_path, ignored, expected):
    """Only the hang-up that `nohup` has ignored stays so."""
    call = f"-m pipespan run --detach --name sig -- {sys.executable}"
    script = f"trap '' {ignored}; exec {sys.executable} {call} -c \"$1\""
    subprocess.run(
        ["sh", "-c", script, "sh", DISPOSITIONS], env=background.environ, check=True, cwd=tmp_path,
        preexec_fn=restore_signals, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    background.wait_for_end("sig")
    said = background("logs", "--process", "sig").stdout.splitlines()[0].split()[3:]
    # Python itself has a handler of its own for SIGINT unless that is ignored.
    assert said == ["default_int_handler", "SIG_DFL", expected, "SIG_DFL"]


def test_the_supervisor_is_small(background):
    """Its resident memory stays under 40 MB while it records, delivers and keeps thousands of lines."""
    program = (
        "for n in range(20_000): print('line', n)\nimport time; print('said', flush=True); time.sleep(60)"
    )
    found = background.start("small", "--", sys.executable, "-u", "-c", program)
    log = background.tmp_path / "state/logs/small.jsonl"
    eventually(lambda: '"said"' in log.read_text())
    time.sleep(0.05)
    assert psutil.Process(found["supervisor_pid"]).memory_info().rss < MAX_SUPERVISOR_BYTES


STUBBORN = (
    "trap '' TERM; sh -c \"trap '' TERM; while :; do sleep 1; done\" & echo $!; while :; do sleep 1; done"
)


def test_stop_ends_all_of_it(background, rows):
    """SIGTERM first, then SIGKILL for the command and what it started; the experiment is cancelled."""
    found = background.start("stub", "--restart", "always", "--", "sh", "-c", STUBBORN)
    grandchild = int(eventually(lambda: background("logs", "--process", "stub").stdout.split()[3:4])[0])
    started = time.monotonic()
    stopped = background("stop", "stub", "--timeout", "0.3")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert "stopped by" in stopped.stdout
    assert time.monotonic() - started < 15
    assert not is_there(found["pid"])
    assert not is_there(grandchild)
    assert not is_there(found["supervisor_pid"])
    assert background.find("stub")["state"] == "cancelled"
    assert [row["status"] for row in rows("select status from experiments")] == ["cancelled"]
    assert "does not run" in background("stop", "stub").stdout


def test_a_command_may_end_itself_in_peace(background):
    """It gets SIGTERM and the time that was given, and is heard to the end."""
    program = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    background.start("polite", "--restart", "always", "--", "sh", "-c", program)
    eventually(lambda: "ready" in background("logs", "--process", "polite").stdout)
    background("stop", "polite", "--timeout", "20")
    assert "bye" in [line["message"] for line in process_lines(background, "polite")]
    assert background.find("polite")["state"] == "cancelled"


def process_lines(background: Background, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in background("logs", "--process", name, "--json").stdout.splitlines()]


def test_each_attempt_is_kept(background, rows):
    """Three failures are three attempts of one experiment: jobs with exit code and last words, one outcome."""
    program = 'echo "attempt $PIPESPAN_ATTEMPT" >&2; test $PIPESPAN_ATTEMPT = 3 || exit 7'
    background.start("thrice", "--restart", "on-failure", "--backoff", "0.1", "--", "sh", "-c", program)
    ended = background.wait_for_end("thrice")
    assert (ended["state"], ended["attempt"]) == ("completed", 3)
    assert [(end["exit_code"], end["stderr_tail"]) for end in ended["attempts"]] == [
        (7, ["attempt 1"]), (7, ["attempt 2"]), (0, ["attempt 3"]),
    ]  # fmt: skip
    jobs = rows("select * from processing_jobs order by attempt")
    assert [(job["attempt"], job["status"], job["exit_code"]) for job in jobs] == [
        (1, "failed", 7), (2, "failed", 7), (3, "completed", 0),
    ]  # fmt: skip
    assert [job["evidence"]["stderr_tail"] for job in jobs] == [["attempt 1"], ["attempt 2"], ["attempt 3"]]
    (experiment,) = rows("select * from experiments")
    assert (experiment["status"], experiment["attempt"]) == ("completed", 3)
    (node,) = rows("select * from pipeline_progress")
    assert (node["status"], node["attempt"]) == ("completed", 3)
    assert len(rows("select * from pipeline_events where event_type = 'restart'")) == 2
    assert len({row["job_id"] for row in rows("select job_id from pipeline_logs where level = 'INFO'")}) == 3


def test_between_two_attempts_it_is_not_over(background, rows):
    """While it waits, the experiment runs, as another attempt, and somebody lives for it."""
    background.start("wait", "--restart", "always", "--backoff", "60", "--", "false")
    assert background.wait_for("wait", "waiting")["next_start_at"] is not None
    eventually(lambda: rows("select 1 from processing_jobs where attempt = 1 and status = 'failed'"))
    (experiment,) = rows("select * from experiments")
    assert (experiment["status"], experiment["attempt"], experiment["ended_at"]) == ("running", 2, None)
    (node,) = rows("select * from pipeline_progress")
    assert (node["status"], node["attempt"]) == ("running", 2)
    assert "starts in 60 s" in eventually(lambda: rows("select message from pipeline_progress")[0]["message"])
    status = json.loads(background("status", "--json", "wait").stdout)
    assert status["health"] == "alive"
    background("stop", "wait")
    assert [row["status"] for row in rows("select status from experiments")] == ["cancelled"]


def test_a_crash_loop_is_ended(background, rows):
    """After five failures at once it is not started again, and says so."""
    background.start("loop", "--restart", "always", "--backoff", "0", "--", "false")
    ended = background.wait_for_end("loop")
    assert (ended["state"], ended["attempt"]) == ("failed", 5)
    assert "crash loop" in ended["reason"]
    assert [row["status"] for row in rows("select status from experiments")] == ["failed"]


def test_a_killed_supervisor_leaves_an_orphan_that_can_be_stopped(background, tmp_path):
    """The list tells the truth, the orphan is ended by stop, and the stale pid file is gone."""
    found = background.start("orphan", "--", "sleep", "60")
    os.kill(found["supervisor_pid"], signal.SIGKILL)
    eventually(lambda: not is_there(found["supervisor_pid"]))
    orphan = background.find("orphan")
    assert (orphan["state"], orphan["pid"], orphan["supervisor_pid"]) == ("orphaned", found["pid"], None)
    assert not (tmp_path / "state/processes/orphan.pid").exists()
    taken = background("run", "--detach", "--name", "orphan", "--", "true")
    assert (taken.returncode, "runs already" in taken.stderr) == (1, True)
    assert background("stop", "orphan", "--timeout", "5").returncode == 0
    assert not is_there(found["pid"])
    assert background.find("orphan")["state"] == "cancelled"


def test_a_supervisor_killed_with_its_command_is_dead_and_can_be_started_again(background, rows):
    """Whoever looks next writes it down; the restart is another attempt of the same experiment."""
    found = background.start("both", "--", "sleep", "60")
    for pid in (found["supervisor_pid"], found["pid"]):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_there(found["supervisor_pid"]) and not is_there(found["pid"]))
    assert background.find("both")["state"] == "dead"
    assert background.entry("both")["state"] == "dead"
    again = background("restart", "both")
    assert again.returncode == 0, again.stderr
    renewed = background.find("both")
    assert (renewed["state"], renewed["attempt"], renewed["experiment_id"]) == (
        "running",
        2,
        found["experiment_id"],
    )
    background("stop", "both")
    eventually(
        lambda: (
            [(row["status"], row["attempt"]) for row in rows("select * from experiments")]
            == [("cancelled", 2)]
        )
    )


def test_a_restart_stops_first(background):
    """What runs is stopped, and started with the same command in the same folder."""
    found = background.start("again", "--", "sh", "-c", "pwd; echo $WORD; sleep 60", WORD="one")
    eventually(lambda: len(process_lines(background, "again")) == 2)
    assert background("restart", "again", WORD="two").returncode == 0
    renewed = background.find("again")
    assert not is_there(found["pid"])
    assert (renewed["attempt"], renewed["experiment_id"]) == (2, found["experiment_id"])
    folder = str(background.tmp_path)
    eventually(lambda: [
        line["message"] for line in process_lines(background, "again") if line["stream"] == "stdout"
    ] == [folder, "one", folder, "two"])  # fmt: skip


def test_a_damaged_registry_is_mended_by_the_living(background, tmp_path):
    """Files that are gone or broken come back while the process runs."""
    found = background.start("heal", "--", "sleep", "60")
    folder = tmp_path / "state/processes"
    (folder / "heal.json").write_text("{ half")
    (folder / "heal.pid").unlink()
    assert background.ps() == []
    eventually(lambda: background.entry("heal")["state"] == "running")
    assert background.find("heal")["pid"] == found["pid"]
    assert (folder / "heal.pid").exists()


def test_attach_shows_the_output_and_leaves_the_command_running(background):
    """Ctrl-C ends the watching only."""
    program = "echo first; while ! test -e go; do sleep 0.05; done; echo second; sleep 60"
    background.start("watched", "--", "sh", "-c", program)
    with subprocess.Popen(
        pipespan("attach", "watched"), env=background.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=background.tmp_path, preexec_fn=restore_signals,  # noqa: PLW1509 - no threads here
    ) as watching:  # fmt: skip
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"first\n"
        (background.tmp_path / "go").touch()
        assert watching.stdout.readline() == b"second\n"
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=10)
    assert watching.returncode == 0
    assert b"watched goes on" in said
    assert background.find("watched")["state"] == "running"


def test_attach_ends_with_the_command(background):
    """Streams go where they came from, and the end is told."""
    background.start("short", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    background.wait_for_end("short")
    shown = background("attach", "short")
    assert (shown.returncode, shown.stdout) == (0, "out\n")
    assert shown.stderr.splitlines()[0] == "err"
    assert shown.stderr.splitlines()[-1] == "pipespan: over: failed: exit code 3"


def test_its_log_is_read_without_a_database(background, tmp_path):
    """Lines, limit, text, follow, and files in a folder of one's choice, rotated."""
    program = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done"
    nowhere = {
        "PIPESPAN_DSN": "postgresql://localhost:1/none?connect_timeout=1",
        "PIPESPAN_EXIT_TIMEOUT_S": "0.1",
    }
    folder = tmp_path / "elsewhere"
    background.start(
        "plain", "--log-dir", str(folder), "--log-files", "2", "--", "sh", "-c", program, **nowhere
    )
    background.wait_for_end("plain")
    assert [path.name for path in folder.iterdir()] == ["plain.jsonl"]

    def shown(*args: str) -> list[str]:
        return [
            line.split(maxsplit=3)[3]
            for line in background("logs", "--process", "plain", *args, **nowhere).stdout.splitlines()
        ]

    lines = [f"line {n}" for n in range(1, 10)]
    assert shown() == [*lines, "attempt 1 completed", "over: completed"]
    assert shown("--grep", "LINE", "--limit", "2") == lines[-2:]
    assert shown("--follow", "--limit", "1") == ["over: completed"]


def test_a_command_that_does_not_exist_is_told_at_once(background):
    """The call itself fails, with the reason; it is not tried again."""
    done = background("run", "--detach", "--name", "none", "--restart", "always", "--", "no-such-command")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pipespan: command not found: 'no-such-command'\n"
    background.wait_for_end("none")
    assert (
        background.find("none")["reason"] == "failed: exit code 127; not started again: it cannot be started"
    )


def test_names(background):
    """A running one is taken; an odd one is refused; without one the command's is taken, with a number."""
    background.start("x", "--", "sleep", "60")
    taken = background("run", "--detach", "--name", "x", "--", "true")
    assert (taken.returncode, "runs already" in taken.stderr) == (1, True)
    assert background("run", "--detach", "--name", "../x", "--", "true").returncode == 2
    assert background("stop", "y").returncode == 2
    for expected in ("sleep", "sleep-2"):
        assert background("run", "--detach", "--quiet", "--", "sleep", "60").stdout == f"{expected}\n"
    assert background("ps").stdout.count("running") == 3


def test_a_long_command_leaves_the_other_columns_whole(background):
    """In 80 columns it is the command that is cut, never what tells which one it is and how it stands."""
    one = background.start("nightly-import", "--", "sh", "-c", "sleep 60; " + "echo a long command; " * 9)
    (line,) = [line for line in background("ps", COLUMNS="80").stdout.splitlines() if "nightly" in line]
    assert line.split()[:3] == ["nightly-import", one["state"], str(one["pid"])]
    assert one["experiment_id"][:8] in line
    assert "…" in line
    assert len(line.rstrip()) <= 80


def test_modules_in_the_working_folder_are_not_taken_for_pythons(background, tmp_path):
    """The supervisor starts in a folder with a `signal.py` of somebody else's."""
    (tmp_path / "asyncio.py").write_text("raise SystemExit('not the right one')")
    (tmp_path / "signal.py").write_text("raise SystemExit('not the right one')")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.pop(0); from pipespan.cli.app import main; sys.exit(main())",
         "run", "--detach", "--name", "shadow", "--", "true"],
        env=background.environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_switched_off_it_still_runs(background, rows):
    """Nothing is recorded in the database; the background works all the same."""
    background.start("off", "--", "sh", "-c", "echo here", PIPESPAN_DISABLED="1")
    assert background.wait_for_end("off")["experiment_id"] is None
    assert process_lines(background, "off")[0]["message"] == "here"
    assert rows("select * from experiments") == []


def test_without_a_folder_for_the_registry_nothing_is_started(background, tmp_path):
    """What could never be found again is not put into the background; one line says what is wrong."""
    (tmp_path / "file").touch()
    done = background("run", "--detach", "--", "true", PIPESPAN_STATE_DIR=str(tmp_path / "file"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("pipespan: cannot write to ")


def test_no_secret_is_in_its_log(background, tmp_path):
    """What the command prints is kept without secrets, in its log and in its last words."""
    background.start(
        "loud", "--", "sh", "-c", "echo token=tr0ub4dor-and-3; echo password=tr0ub4dor-and-3 >&2; exit 1"
    )
    ended = background.wait_for_end("loud")
    log = (tmp_path / "state/logs/loud.jsonl").read_text()
    assert "token=[redacted]" in log
    assert ended["attempts"][0]["stderr_tail"] == ["password=[redacted]"]
    assert "tr0ub4dor" not in log + (tmp_path / "state/processes/loud.json").read_text().split('"ends"')[1]
