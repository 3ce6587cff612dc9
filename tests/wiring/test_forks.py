"""Ctrl-C in the midst of a fork, where Python would drop it, reaches the program all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")

PROGRAM = r"""
    import os, signal, sys, time

    def interrupt():
        global interrupted
        if os.getpid() not in interrupted:
            interrupted.append(os.getpid())
            os.kill(os.getpid(), signal.SIGINT)

    interrupted = [] if {armed} else [os.getpid()]
    # As `logging` does it: a hook that is there before us, and that Python may be in when the signal comes.
    os.register_at_fork({place}=interrupt)
    import pipespan

    def say(text):
        os.write(1, (text + "\n").encode())  # as a whole: two processes write there

    def own(number, frame):
        say("handled")

    def wait():
        try:
            time.sleep({wait_s})
        except KeyboardInterrupt:
            return "interrupted"
        return "waited"

    signal.signal(signal.SIGINT, {handler})
    with pipespan.pipeline("forking"):
        pid = os.fork()
        if pid == 0:
            say("child " + wait())
            os._exit(0)
        say("parent " + wait())
        os.waitpid(pid, 0)
    say(f"handler {{signal.getsignal(signal.SIGINT) is {handler}}}")
"""


def told(
    tmp_path: Path, place: str, handler: str = "signal.default_int_handler", *, armed: bool = True
) -> set[str]:
    """Return what a program said that is interrupted in a hook of a fork; it says nothing on stderr."""
    program = PROGRAM.format(place=place, handler=handler, armed=armed, wait_s=2 if armed else 0.2)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PIPESPAN_STATE_DIR": str(tmp_path), "PIPESPAN_STORE": "none"},
    )  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("place", ["before", "after_in_parent"])
def test_the_program_is_interrupted_and_its_child_is_not(tmp_path: Path, place: str) -> None:
    """What came to the parent while it forked is for the parent."""
    assert told(tmp_path, place) == {"parent interrupted", "child waited", "handler True"}


def test_a_child_is_interrupted_and_its_parent_is_not(tmp_path: Path) -> None:
    """A child that is told while it begins is interrupted as well."""
    assert told(tmp_path, "after_in_child") == {"parent waited", "child interrupted", "handler True"}


def test_nothing_is_sent_that_did_not_come(tmp_path: Path) -> None:
    """A fork by itself interrupts nobody."""
    assert told(tmp_path, "before", armed=False) == {"parent waited", "child waited", "handler True"}


@pytest.mark.parametrize("disabled", ["1", "0"])
def test_where_pipespan_is_disabled_nothing_is_held_back(tmp_path: Path, disabled: str) -> None:
    """Then a fork is as it would be without it."""
    program = """
        import os, signal
        seen = []
        os.register_at_fork(before=lambda: seen.append(signal.getsignal(signal.SIGINT)))
        import pipespan
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pipespan.pipeline("forking"):
            if (pid := os.fork()) == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        print(int(seen[0] is signal.default_int_handler))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=30, check=True,
        env={
            **os.environ, "PIPESPAN_STATE_DIR": str(tmp_path), "PIPESPAN_STORE": "none",
            "PIPESPAN_DISABLED": disabled,
        },
    )  # fmt: skip
    assert done.stdout.strip() == disabled


def test_a_handler_of_the_programs_own_is_called_at_once(tmp_path: Path) -> None:
    """Other handlers stay where they are, also during the fork."""
    assert told(tmp_path, "before", "own") == {"handled", "parent waited", "child waited", "handler True"}
