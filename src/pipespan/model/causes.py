"""The words for how a process ended, and how they follow from an exit status or from what a crash left behind."""

from __future__ import annotations

import re
import signal
from typing import Final

from pipespan.model.status import Status

RETURN: Final = "return"
EXIT: Final = "exit"
OS_EXIT: Final = "os-exit"
KILLED: Final = "killed"
OOM_KILLED: Final = "oom-killed"
SEGFAULT: Final = "segfault"
ABORT: Final = "abort"
STACK_OVERFLOW: Final = "stack-overflow"
REBOOT: Final = "reboot"
VANISHED: Final = "vanished"
SIGNAL_PREFIX: Final = "signal:"

CAUSES: Final[dict[str, str]] = {
    RETURN: "it came to its end",
    EXIT: "it ended with an exit status other than 0",
    OS_EXIT: "it ended at once, by os._exit or its like",
    KILLED: "it was killed by SIGKILL",
    OOM_KILLED: "the kernel killed it for want of memory",
    SEGFAULT: "it reached for memory that is not its own (SIGSEGV)",
    ABORT: "it aborted itself (SIGABRT)",
    STACK_OVERFLOW: "it ran out of stack",
    REBOOT: "the host went down and was started anew",
    VANISHED: "it is gone, and nothing tells how",
}
"""The closed vocabulary of `processing_jobs.cause`; beside it stand `signal:<NAME>`, and the type of an exception."""

_BY_SIGNAL: Final = {"SIGKILL": KILLED, "SIGSEGV": SEGFAULT, "SIGABRT": ABORT}
_KILLED_STATUS: Final = 137
"""What a shell returns for a command that SIGKILL ended."""

_FATAL: Final = re.compile(r"^Fatal Python error: (.*)$|^Windows fatal exception: (.*)$", re.MULTILINE)
_FATAL_WORDS: Final = (
    ("stack overflow", STACK_OVERFLOW),
    ("recursi", STACK_OVERFLOW),
    ("segmentation fault", SEGFAULT),
    ("access violation", SEGFAULT),
    ("bus error", f"{SIGNAL_PREFIX}SIGBUS"),
    ("floating", f"{SIGNAL_PREFIX}SIGFPE"),
    ("illegal instruction", f"{SIGNAL_PREFIX}SIGILL"),
)
_FRAME: Final = re.compile(r'^  File (".*", line \d+ in .*)$', re.MULTILINE)
_DEEP_FRAMES: Final = 100
"""The fault handler prints so many frames of a thread at most: a crash below them ran out of stack."""


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def cause_of_signal(number: int, *, oom_kills: int = 0) -> str:
    """Return the cause of a death by signal.

    Args:
        number: of the signal.
        oom_kills: processes of its own control group that the kernel killed for want of memory, since it was last
            seen alive.
    """
    name = signal_name(number)
    if name == "SIGKILL" and oom_kills > 0:
        return OOM_KILLED
    return _BY_SIGNAL.get(name, SIGNAL_PREFIX + name)


def cause_of_exit(exit_code: int, *, oom_kills: int = 0) -> str:
    """Return the cause of an end by exit status, of a command that is not seen from inside."""
    if exit_code == _KILLED_STATUS and oom_kills > 0:
        return OOM_KILLED  # a shell tells so of its child; without the kernel's own count it proves nothing
    return EXIT if exit_code else RETURN


def cause_of_fault(text: str) -> str | None:
    """Return the cause that a crash's own report (of `faulthandler`) tells, None when it tells none."""
    found = _FATAL.search(text)
    if found is None:
        return None
    told = (found[1] or found[2] or "").lower()
    cause = next((cause for word, cause in _FATAL_WORDS if word in told), ABORT)
    return STACK_OVERFLOW if cause == SEGFAULT and _is_deep(text[found.end() :]) else cause


def _is_deep(text: str) -> bool:
    # Of the thread that crashed, which comes first or is called the current one.
    current = text.partition("Current thread")[2] or text
    frames = _FRAME.findall(current.partition("\n\n")[0])
    return len(frames) >= _DEEP_FRAMES and len(set(frames)) <= len(frames) // 2


def status_of_cause(cause: str) -> Status:
    """Return the status of what ended by `cause`: whoever presses Ctrl-C wants it to end."""
    if cause == RETURN:
        return "completed"
    return "cancelled" if cause == f"{SIGNAL_PREFIX}SIGINT" else "failed"


def describe(cause: str, exit_code: int | None = None) -> str:
    """Return a cause in words for people, in a few words."""
    if cause.startswith(SIGNAL_PREFIX):
        return f"it was ended by {cause.removeprefix(SIGNAL_PREFIX)}"
    if cause == EXIT and exit_code is not None:
        return f"it exited with {exit_code}"
    words = CAUSES.get(cause, cause)
    return f"{words} ({exit_code})" if cause == OS_EXIT and exit_code is not None else words
