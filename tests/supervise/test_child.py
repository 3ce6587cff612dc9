"""Real commands under `run_child`: what a shell user expects of them stays true."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.dispositions import restore_signals

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the shell of the tests is a Unix one")


@dataclass
class Relayed:
    """A command that runs under the relay."""

    process: subprocess.Popen[bytes]
    report: Path

    def ended(self) -> dict[str, Any]:
        return json.loads(self.report.read_text(encoding="utf-8"))

    def finish(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path):
    """Start a command under the relay, in a session of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, **options: Any) -> Relayed:
        report = tmp_path / f"report-{len(started)}.json"
        usual = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "preexec_fn": restore_signals,
        }
        process = subprocess.Popen(
            [sys.executable, str(HERE / "relay_main.py"), str(report), *argv],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            start_new_session=True,
            **{**usual, **options},
        )
        started.append(process)
        return Relayed(process, report)

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-c", program)


def wait_for_line(stream, text: bytes) -> None:
    for line in stream:
        if text in line:
            return
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_childs(start, code):
    """The exit status comes through unchanged."""
    relayed = start("/bin/sh", "-c", f"exit {code}")
    assert relayed.finish()[0] == code
    assert relayed.ended()["exit_code"] == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_death_by_signal_is_128_and_the_signal(start, number):
    """A shell's convention for a child that a signal ended."""
    relayed = start(*python(f"import os; os.kill(os.getpid(), {int(number)})"))
    assert relayed.finish()[0] == 128 + number
    assert relayed.ended()["signal"] == number


def test_a_command_that_does_not_exist_is_127(start):
    """One clear line says that there is no such command."""
    relayed = start("no-such-command-anywhere")
    assert relayed.finish()[0] == 127
    assert relayed.ended()["problem"] == "command not found: 'no-such-command-anywhere'"


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_file_that_cannot_be_executed_is_126(start, tmp_path, mode):
    """Neither a file without the permission nor one that is no program is run."""
    path = tmp_path / "data"
    path.write_bytes(b"no program")
    path.chmod(mode)
    relayed = start(str(path))
    assert relayed.finish()[0] == 126
    assert "cannot execute" in relayed.ended()["problem"]


def test_megabytes_on_both_streams_come_complete_and_in_order(start):
    """Nothing is lost, doubled or swapped, neither for the reader of our stream nor for the listener."""
    program = (
        "import sys, threading\n"
        "def say(stream, tag):\n"
        "  for i in range(60000): stream.write('%s line %d of many\\n' % (tag, i))\n"
        "t = threading.Thread(target=say, args=(sys.stderr, 'err'))\n"
        "t.start(); say(sys.stdout, 'out'); t.join()"
    )
    relayed = start(sys.executable, "-c", program)
    code, out, err = relayed.finish()
    assert code == 0
    assert out == b"".join(b"out line %d of many\n" % i for i in range(60000))
    assert err == b"".join(b"err line %d of many\n" % i for i in range(60000))
    ended = relayed.ended()
    assert ended["stdout"].encode("latin-1") == out
    assert ended["stderr"].encode("latin-1") == err


def test_a_slow_reader_slows_the_child_and_loses_nothing(start):
    """What the child left in the channel arrives, even long after it has gone."""
    relayed = start(*python("import os, sys\nfor i in range(40): sys.stdout.buffer.write(bytes([i]) * 8192)"))
    assert relayed.process.stdout is not None
    digest = hashlib.sha256()
    while piece := os.read(relayed.process.stdout.fileno(), 4096):
        digest.update(piece)
        time.sleep(0.002)
    assert relayed.process.wait(timeout=10) == 0
    assert digest.digest() == hashlib.sha256(b"".join(bytes([i]) * 8192 for i in range(40))).digest()


def test_binary_bytes_come_through_unchanged(start):
    """What is not text passes too."""
    data = bytes(range(256)) * 50
    relayed = start(*python("import sys; sys.stdout.buffer.write(bytes(range(256)) * 50)"))
    assert relayed.finish()[:2] == (0, data)
    assert relayed.ended()["stdout"].encode("latin-1") == data


def test_output_appears_at_once(start):
    """A line can be read while the child still runs."""
    relayed = start(*python("print('ready'); import sys; sys.stdin.read()"), stdin=subprocess.PIPE)
    wait_for_line(relayed.process.stdout, b"ready")
    assert relayed.process.poll() is None
    assert relayed.finish()[0] == 0


def test_the_child_reads_our_stdin(start):
    """Standard input is the child's."""
    relayed = start("cat", stdin=subprocess.PIPE)
    out, _ = relayed.process.communicate(b"hello", timeout=10)
    assert out == b"hello"


def test_a_grandchild_that_keeps_the_pipe_open_does_not_hang_us(start):
    """After the child's end the streams are listened to for two seconds at most."""
    started = time.monotonic()
    relayed = start("/bin/sh", "-c", "echo here; sleep 20 & exit 3")
    code, out, _ = relayed.finish()
    assert (code, out) == (3, b"here\n")
    assert time.monotonic() - started < 8


def test_a_closed_reader_ends_the_child_as_in_a_pipe(start):
    """`... | head -1` ends an endless writer."""
    relayed = start("yes")
    assert relayed.process.stdout is not None
    relayed.process.stdout.read(10)
    relayed.process.stdout.close()
    assert relayed.process.wait(timeout=10) == 128 + signal.SIGPIPE


COUNTING = (
    "import signal, sys, time\n"
    "def on(n, f): print('got', signal.Signals(n).name)\n"
    "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT): signal.signal(n, on)\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n"
    "import os; print('ready', os.getpid())\n"
    "while True: time.sleep(0.05)\n"
)


@pytest.mark.parametrize("to_group", [True, False], ids=["group", "process"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_reaches_the_child_exactly_once(start, name, to_group):
    """Whether the whole group is sent the signal, as by Ctrl-C, or our process alone."""
    relayed = start(*python(COUNTING))
    out = relayed.process.stdout
    assert out is not None
    child = int(out.readline().split()[1])
    time.sleep(0.05)
    number = getattr(signal, name)
    (os.killpg if to_group else os.kill)(relayed.process.pid, number)
    assert out.readline() == b"got %s\n" % name.encode()
    time.sleep(0.05)
    os.kill(child, signal.SIGUSR1)
    code, rest, _ = relayed.finish()
    assert (code, rest) == (7, b"")
    assert relayed.ended()["received"] == [number]


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
def test_a_background_jobs_ignored_keys_stay_ignored(start, name):
    """What a shell has a background job ignore, the command ignores too: Ctrl-C is for the foreground."""
    number = getattr(signal, name)
    program = f"import os, signal; os.kill(os.getppid(), {int(number)}); print(signal.getsignal({int(number)}).name)"
    relayed = start(*python(program), preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    assert relayed.finish()[:2] == (0, b"SIG_IGN\n")
    assert relayed.ended()["received"] == []


def test_an_ignored_signal_stays_ignored(start):
    """Under nohup a hang-up does not end anything."""
    relayed = start(
        *python("import os, signal; os.kill(os.getppid(), 1); print(signal.getsignal(signal.SIGHUP).name)"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert relayed.finish()[:2] == (0, b"SIG_IGN\n")
    assert relayed.ended()["received"] == []


def read_terminal(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            return data
        if not piece:
            return data
        data += piece


@pytest.fixture
def terminal():
    """A pseudo-terminal: (ours, the program's)."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def test_in_a_terminal_the_child_has_terminals_of_our_size(start, terminal):
    """Both streams are terminals, of the size of ours, and the bytes come through unchanged."""
    import fcntl
    import struct
    import termios

    ours, theirs = terminal
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    program = (
        "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), tuple(os.get_terminal_size(1)))"
    )
    relayed = start(*python(program), stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert read_terminal(ours) == b"True True (111, 33)\r\n"
    assert relayed.process.wait(timeout=10) == 0
    assert relayed.ended()["stdout"] == "True True (111, 33)\n"


def test_a_change_of_the_window_is_passed_on(start, terminal):
    """A resize reaches the child's own terminal and the child."""
    import fcntl
    import struct
    import termios

    ours, theirs = terminal
    program = (
        "import os, signal, sys\n"
        "def on(*_): os.write(1, b'%d x %d\\n' % os.get_terminal_size(1)); sys.exit(0)\n"
        "signal.signal(signal.SIGWINCH, on); print('ready')\n"
        "while True: signal.pause()"
    )
    relayed = start(*python(program), stdout=theirs)
    os.close(theirs)
    seen = b""
    while not seen.endswith(b"\n"):
        seen += os.read(ours, 100)
    time.sleep(0.05)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
    os.kill(relayed.process.pid, signal.SIGWINCH)
    assert read_terminal(ours) == b"20 x 10\r\n"
    assert relayed.process.wait(timeout=10) == 0


def test_one_stream_may_be_a_terminal_and_the_other_a_pipe(start, terminal):
    """Each stream is judged by itself, as when stderr is redirected."""
    ours, theirs = terminal
    program = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    relayed = start(*python(program), stdout=theirs)
    os.close(theirs)
    assert read_terminal(ours) == b"True False\r\n"
    assert relayed.process.wait(timeout=10) == 0


def test_ctrl_c_in_a_terminal_reaches_the_child_once(tmp_path):
    """The terminal's own interrupt key, typed in a real session with a controlling terminal."""
    report = tmp_path / "report.json"
    argv = [sys.executable, str(HERE / "relay_main.py"), str(report), *python(COUNTING)]
    pid, ours = pty.fork()
    if pid == 0:
        restore_signals()
        os.execve(sys.executable, argv, {**os.environ, "PYTHONPATH": str(SRC)})
    try:
        seen = b""
        while b"\n" not in seen:
            seen += os.read(ours, 100)
        child = int(seen.split()[1])
        time.sleep(0.05)
        os.write(ours, b"\x03")
        while b"got SIGINT" not in seen:
            seen += os.read(ours, 100)
        time.sleep(0.05)
        os.kill(child, signal.SIGUSR1)
        seen += read_terminal(ours)
        assert seen.count(b"got") == 1
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(ours)
    assert os.waitstatus_to_exitcode(status) == 7
    assert json.loads(report.read_text(encoding="utf-8"))["received"] == [signal.SIGINT]
