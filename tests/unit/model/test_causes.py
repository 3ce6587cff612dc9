"""Words for ends, from exit statuses and from what a crash left."""

from __future__ import annotations

import signal

import pytest

from pipespan.model.causes import (
    CAUSES,
    cause_of_exit,
    cause_of_fault,
    cause_of_signal,
    describe,
    status_of_cause,
)

SEGFAULT = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
FRAME = '  File "a.py", line 3 in f\n'


@pytest.mark.parametrize(
    ("number", "oom_kills", "cause"),
    [
        (9, 0, "killed"),
        (9, 1, "oom-killed"),
        (15, 1, "signal:SIGTERM"),
        (11, 0, "segfault"),
        (6, 0, "abort"),
        (7, 0, "signal:SIGBUS"),
        (40, 0, "signal:SIG40"),
    ],
)
def test_a_signal_has_a_word(number, oom_kills, cause):
    """Memory is blamed for SIGKILL alone, and only with the kernel's own count."""
    assert cause_of_signal(number, oom_kills=oom_kills) == cause


@pytest.mark.parametrize(
    ("code", "oom_kills", "cause"),
    [(0, 0, "return"), (0, 2, "return"), (1, 2, "exit"), (137, 0, "exit"), (137, 1, "oom-killed")],
)  # fmt: skip
def test_137_alone_proves_nothing(code, oom_kills, cause):
    """A shell returns it for a child that SIGKILL ended, and so may anybody."""
    assert cause_of_exit(code, oom_kills=oom_kills) == cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", None),
        ("Thread 0x1 (most recent call first):\n" + FRAME, None),
        (SEGFAULT + FRAME * 5, "segfault"),
        (SEGFAULT + FRAME * 100 + "  ...\n", "stack-overflow"),
        (SEGFAULT + "".join(f'  File "a.py", line {n} in f{n}\n' for n in range(100)), "segfault"),
        ("Fatal Python error: Aborted\n", "abort"),
        ("Fatal Python error: Bus error\n", "signal:SIGBUS"),
        (
            "Fatal Python error: _Py_CheckRecursiveCall: Cannot recover from stack overflow.\n",
            "stack-overflow",
        ),
        ("Fatal Python error: something new\n", "abort"),
    ],
)
def test_a_crash_report_has_a_word(text, cause):
    """What `faulthandler` wrote tells the cause; the same frames again and again are a stack that ran out."""
    assert cause_of_fault(text) == cause


def test_ctrl_c_is_a_wish_and_no_failure():
    """Only the interrupt cancels; every other end but the orderly one is a failure."""
    assert status_of_cause(f"signal:{signal.SIGINT.name}") == "cancelled"
    assert status_of_cause("return") == "completed"
    assert {status_of_cause(cause) for cause in CAUSES if cause != "return"} == {"failed"}


def test_words_for_people():
    """A word of the vocabulary is explained, an exception's type stands for itself."""
    assert describe("killed") == "it was killed by SIGKILL"
    assert describe("exit", 3) == "it exited with 3"
    assert describe("os-exit", 7).endswith("(7)")
    assert describe("signal:SIGHUP") == "it was ended by SIGHUP"
    assert describe("ValueError") == "ValueError"
