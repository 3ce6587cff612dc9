"""What a command's end means for its experiment."""

from __future__ import annotations

import signal

from pipespan.record.failures import mark_reported
from pipespan.supervise.child import ChildExit


class CommandFailedError(Exception):
    """A command ended in failure; a subclass for each kind of end has its name."""


def error_of(ended: ChildExit, last_line: str, *, is_reported: bool) -> BaseException | None:
    """Return the exception that stands for the end of a command, None for success.

    Args:
        ended: how it ended.
        last_line: the last thing that it said on stderr.
        is_reported: whether a log record tells the error already, so that the exception needs none.
    """
    if ended.return_code == 0:
        return None
    if is_cancelled(ended):
        return KeyboardInterrupt()
    name = f"ExitCode({ended.exit_code})" if ended.signal is None else signal_name(ended.signal)
    error = _kind(name)(ended.problem or last_line)
    if is_reported:
        mark_reported(error)
    return error


def is_cancelled(ended: ChildExit) -> bool:
    """Tell whether it was Ctrl-C that ended the command."""
    return ended.return_code != 0 and signal.SIGINT in (*ended.received, ended.signal)


def describe(ended: ChildExit) -> str:
    """Return in words how the experiment of a command ended."""
    if ended.return_code == 0:
        return "completed"
    if is_cancelled(ended):
        return "cancelled"
    reason = f"exit code {ended.exit_code}" if ended.signal is None else signal_name(ended.signal)
    return f"failed: {reason}"


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def _kind(name: str) -> type[CommandFailedError]:
    # The error type of a node is the name of the exception's class; names of built-in classes stand alone.
    return type(name, (CommandFailedError,), {"__module__": "builtins", "__qualname__": name})
