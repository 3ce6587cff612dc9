"""`pipespan run` on a real database: the command's life, seen from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.fixtures.dispositions import restore_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands of the tests are Unix ones")

SRC = Path(__file__).parents[2] / "src"


def environment(dsn: str | None, tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPESPAN_", "OTEL_"))}
    given = {"PIPESPAN_DSN": dsn} if dsn else {}
    ours = {"PYTHONPATH": str(SRC), "PIPESPAN_STATE_DIR": str(tmp_path / "state"), "PIPESPAN_WATCHER": "0"}
    # A command that is over at once has time to deliver on a busy machine too.
    return {**kept, **ours, "PIPESPAN_EXIT_TIMEOUT_S": "20", **given, **more}


def pipespan(*args: str) -> list[str]:
    return [sys.executable, "-m", "pipespan", *args]


@pytest.fixture
def run(dsn, tmp_path):
    """Call the command line to its end."""

    def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            pipespan("run", *args),
            env=environment(dsn, tmp_path, **more),
            capture_output=True,
            timeout=60,
            check=False,
        )
        # By hand: text mode would make newlines of carriage returns.
        out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    return run


@pytest.fixture
def rows(dsn):
    """Read rows of the test's database."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield lambda query: connection.execute(query).fetchall()


def python(program: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-u", "-c", program)


def test_a_command_becomes_an_experiment(run, rows):
    """Name, parameters, tags, lines of both streams and the outcome are in the tables."""
    done = run(
        "--name", "my job", "--param", "lr=0.1", "--param", "text=a b", "--tag", "nightly",
        "--", "sh", "-c", "echo one; echo; echo two; echo three >&2",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "one\n\ntwo\n")
    assert done.stderr.splitlines()[0] == "three"
    assert "pipespan status" in done.stderr.splitlines()[-1]
    (experiment,) = rows("select * from experiments")
    assert (experiment["name"], experiment["status"], experiment["tags"]) == (
        "my job",
        "completed",
        ["nightly"],
    )
    argv = ["sh", "-c", "echo one; echo; echo two; echo three >&2"]
    assert experiment["params"] == {"argv": argv, "lr": 0.1, "text": "a b"}
    logs = rows("select * from pipeline_logs order by id")
    assert {(row["logger_name"], row["level"], row["message"]) for row in logs} == {
        ("stdout", "INFO", "one"), ("stdout", "INFO", "two"), ("stderr", "INFO", "three"),
    }  # fmt: skip
    assert {row["context"]["stream"] for row in logs} == {"stdout", "stderr"}
    (node,) = rows("select * from pipeline_progress")
    assert (node["node_level"], node["status"], node["node_id"]) == ("pipeline", "completed", "my job")


def test_quiet_says_nothing_of_its_own(run, rows):
    """With --quiet only the command is heard; without --name its own name is taken."""
    done = run("--quiet", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert [row["name"] for row in rows("select name from experiments")] == ["sh"]


def test_many_lines_are_all_recorded_in_their_order(run, rows):
    """A command that prints fast loses no line, on the way to the terminal or to the table."""
    program = "print(*range(20_000), sep='\\n')"
    done = run(*python(program), PIPESPAN_EXIT_TIMEOUT_S="30")
    expected = [str(number) for number in range(20_000)]
    assert done.stdout.split() == expected
    assert [row["message"] for row in rows("select message from pipeline_logs order by id")] == expected
    (job,) = rows("select log_messages from processing_jobs")
    assert job["log_messages"][-1] == "INFO 19999"


@pytest.mark.parametrize(
    ("program", "code", "words"), [("exit 0", 0, "completed"), ("exit 3", 3, "failed: exit code 3")]
)
def test_the_last_line_says_how_it_ended(run, rows, program, code, words):
    """The outcome stands beside the experiment's id and where to read more."""
    done = run("--", "sh", "-c", program)
    assert done.returncode == code
    (experiment,) = rows("select id from experiments")
    short = str(experiment["id"])[:8]
    assert done.stderr.splitlines()[-1].startswith(f"pipespan: experiment {short} {words}; see `")


def test_a_script_gives_its_name(run, rows, tmp_path):
    """An interpreter's name says nothing of what runs."""
    (tmp_path / "train.py").write_text("")
    assert run("--quiet", "--", sys.executable, "-u", str(tmp_path / "train.py")).returncode == 0
    assert [row["name"] for row in rows("select name from experiments")] == ["train"]


def test_options_of_the_command_are_its_own(run):
    """What follows the command is not read as options of pipespan."""
    done = run("--quiet", "echo", "--name", "x", "--", "-h")
    assert done.stdout == "--name x -- -h\n"


def test_a_failure_is_the_exit_code_and_the_last_line(run, rows):
    """A failing command makes a failed experiment that says why."""
    done = run("--", "sh", "-c", "echo first >&2; echo disk is full >&2; exit 3")
    assert done.returncode == 3
    (node,) = rows("select * from pipeline_progress")
    assert (node["status"], node["error_type"], node["message"]) == ("failed", "ExitCode(3)", "disk is full")
    (experiment,) = rows("select * from experiments")
    assert (experiment["status"], experiment["error_count"]) == ("failed", 1)


def test_a_python_traceback_is_one_error(run, rows):
    """The child's own traceback is recorded as such, once."""
    done = run(*python("def f():\n  raise ValueError('boom')\nf()"))
    assert done.returncode == 1
    (node,) = rows("select * from pipeline_progress")
    assert (node["status"], node["error_type"], node["message"]) == (
        "failed",
        "ExitCode(1)",
        "ValueError: boom",
    )
    (error,) = rows("select * from pipeline_logs where level = 'ERROR'")
    assert (error["logger_name"], error["message"]) == ("stderr", "ValueError: boom")
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert error["traceback"].endswith("in f\nValueError: boom")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_death_by_signal_has_its_name(run, rows, name):
    """A killed command returns 128+n and fails with the signal's name."""
    number = getattr(signal, name)
    assert run(*python(f"import os; os.kill(os.getpid(), {int(number)})")).returncode == 128 + number
    assert [row["error_type"] for row in rows("select error_type from pipeline_progress")] == [name]


def test_commands_that_cannot_start(run, rows, tmp_path):
    """127 and 126, one clear line, a failed experiment."""
    missing = run("--quiet", "--", "no-such-command")
    assert (missing.returncode, missing.stderr) == (127, "pipespan: command not found: 'no-such-command'\n")
    (tmp_path / "data").write_text("text")
    refused = run("--quiet", "--", str(tmp_path / "data"))
    assert refused.returncode == 126
    assert refused.stderr == f"pipespan: cannot execute '{tmp_path / 'data'}': permission denied\n"
    types = rows("select error_type from pipeline_progress order by start_time")
    assert [row["error_type"] for row in types] == ["ExitCode(127)", "ExitCode(126)"]


@pytest.mark.parametrize("args", [[], ["--param", "x", "--", "true"], ["--no-such-option", "--", "true"]])
def test_wrong_use_is_exit_code_2(run, rows, args):
    """Nothing is run and nothing recorded."""
    assert run(*args).returncode == 2 or args[:1] == ["--no-such-option"]
    assert rows("select * from experiments where status = 'completed'") == []


def test_ctrl_c_cancels(dsn, tmp_path, rows):
    """SIGINT to the group ends the command once and makes the experiment cancelled."""
    program = (
        "import time\ntry:\n  print('ready')\n  time.sleep(30)\n"
        "except KeyboardInterrupt:\n  print('once')\n  raise"
    )
    with subprocess.Popen(
        pipespan("run", *python(program)), env=environment(dsn, tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=restore_signals,  # noqa: PLW1509 - no threads here
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == b"once\n"
    assert process.returncode == 130
    assert [row["status"] for row in rows("select status from pipeline_progress")] == ["cancelled"]
    assert [row["status"] for row in rows("select status from experiments")] == ["cancelled"]
    assert rows("select * from pipeline_logs where level = 'ERROR'") == []


def test_a_python_child_joins_the_experiment(run, rows):
    """A program that uses pipespan works below the pipeline of the command, in a job of its own."""
    program = (
        "import pipespan\n"
        "with pipespan.pipeline('train'):\n"
        "  with pipespan.phase('fit', total=2) as fit:\n"
        "    fit.progress(2)\n"
    )
    assert run("--name", "outer", *python(program)).returncode == 0
    nodes = rows("select * from pipeline_progress order by start_time")
    assert [node["node_name"] for node in nodes] == ["outer", "train", "fit"]
    assert len({node["experiment_id"] for node in nodes}) == 1
    assert [node["parent_id"] for node in nodes] == [None, nodes[0]["node_id"], nodes[1]["node_id"]]
    assert len({node["job_id"] for node in nodes}) == 2
    assert {node["status"] for node in nodes} == {"completed"}
    assert len(rows("select * from experiments")) == 1


BAR = (
    "import sys\nfrom tqdm import tqdm\n"
    "for i in tqdm(range(2000), mininterval=0, ascii=True, ncols=60): pass\n"
    "print('done', file=sys.stderr)"
)


def test_a_bar_through_a_pipe_is_few_lines(run, rows):
    """The thousands of states of a progress bar are one line in the log."""
    done = run("--quiet", *python(BAR))
    assert done.returncode == 0
    assert done.stderr.count("\r") > 100
    messages = [row["message"] for row in rows("select message from pipeline_logs order by id")]
    assert len(messages) == 2
    assert messages[0].startswith("100%|")
    assert messages[1] == "done"


def test_a_bar_through_a_terminal_is_few_lines(dsn, tmp_path, rows):
    """In a terminal the bar is drawn as ever, with colours and all, and folded in the log."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    colour = BAR.replace("ascii=True", "ascii=True, colour='green'")
    with subprocess.Popen(
        pipespan("run", *python(colour)), env=environment(dsn, tmp_path), stdout=theirs, stderr=theirs,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[32m" in shown
    assert b"\r\r\n" not in shown
    messages = [row["message"] for row in rows("select message from pipeline_logs order by id")]
    assert len(messages) == 2
    assert messages[0].startswith("100%|")
    assert "\x1b" not in messages[0]


def test_odd_output_is_recorded(run, rows):
    """Binary garbage, NUL and a missing newline at the end are readable lines."""
    done = run(
        "--quiet", *python("import sys; sys.stdout.buffer.write(b'a\\0b\\xff\\n\\xe2\\x82\\xac last')")
    )
    assert done.returncode == 0
    messages = [row["message"] for row in rows("select message from pipeline_logs order by id")]
    assert len(messages) == 2
    assert messages[0].startswith("a")
    assert messages[1] == "€ last"


def test_disabled_the_command_is_run_as_it_is(run, rows):
    """PIPESPAN_DISABLED=1 replaces pipespan by the command."""
    done = run("--", "sh", "-c", "echo $PIPESPAN_PARENT; exit 5", PIPESPAN_DISABLED="1")
    assert (done.returncode, done.stdout, done.stderr) == (5, "\n", "")
    assert run("--", "no-such-command", PIPESPAN_DISABLED="1").returncode == 127
    assert rows("select * from experiments") == []


@pytest.mark.parametrize(
    "trouble",
    [
        {"PIPESPAN_DSN": "postgresql://localhost:1/none?connect_timeout=1", "PIPESPAN_EXIT_TIMEOUT_S": "0.5"},
        {"PIPESPAN_STATE_DIR": "/proc/no-such-folder"},
        {"PIPESPAN_FLUSH_INTERVAL_S": "often"},
    ],
    ids=["no database", "no state folder", "wrong setting"],
)
def test_the_command_runs_whatever_is_wrong_with_the_record(run, trouble):
    """The command runs to its end and its exit code is returned; a line says what is wrong."""
    done = run("--", "sh", "-c", "echo out; exit 4", **trouble)
    assert (done.returncode, done.stdout) == (4, "out\n")
    assert "pipespan" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--restart", "always")], ids=["once", "restarted"])
def test_a_cancelled_command_says_what_its_record_says(rows, dsn, tmp_path, options):
    """The last line, experiment, job and node all tell who asked; it is not started again."""
    child = subprocess.Popen(
        pipespan("run", *options, "--", "sh", "-c", "echo ready; sleep 600"),
        env=environment(dsn, tmp_path, PIPESPAN_EXIT_TIMEOUT_S="20"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 20
    while not rows("select id from processing_jobs"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asked = subprocess.run(
        pipespan("cancel", "last", "--term-after", "0.5"), env=environment(dsn, tmp_path), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    _, err = child.communicate(timeout=40)
    assert asked.returncode == 0, asked.stderr
    assert child.returncode == 128 + signal.SIGTERM
    assert "cancelled by " in err.splitlines()[-1]
    assert "failed" not in err
    (job,) = rows("select status, cause from processing_jobs")
    assert job["status"] == "cancelled"
    assert job["cause"].startswith("cancelled by ")
    assert [row["status"] for row in rows("select status from experiments")] == ["cancelled"]
    assert [row["status"] for row in rows("select status from pipeline_progress")] == ["cancelled"]
