"""Recognition of tracebacks in what a program printed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipespan.supervise.traceback import traceback_of


def stderr_of(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("program", "error_type", "message"),
    [
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("raise KeyError('x')", "KeyError", "'x'"),
        ("raise ValueError", "ValueError", ""),
        ("raise ValueError('two\\nlines')", "ValueError", "two\nlines"),
        ("class E(Exception): pass\nclass O:\n class I(Exception): pass\nraise O.I('m')", "O.I", "m"),
        ("import json\njson.loads('{')", "json.decoder.JSONDecodeError", None),
        ("def f():\n  f()\nf()", "RecursionError", None),
        ("def f(", "SyntaxError", None),
        ("def f():\nx", "IndentationError", None),
        ("compile('a b', 'x', 'exec')", "SyntaxError", None),
    ],
)
def test_tracebacks_of_the_interpreter_are_recognised(program, error_type, message):
    """Whatever the interpreter prints for an uncaught exception is found, with its type and message."""
    lines = stderr_of(program)
    found = traceback_of(["some line before", *lines])
    assert found is not None
    # Python 3.10 names the main module before a nested class.
    assert found.error_type.removeprefix("__main__.") == error_type
    assert message is None or found.message == message
    assert found.text == "\n".join(lines).rstrip()


def test_causes_belong_to_the_traceback():
    """Chained exceptions are kept whole, and the last one names the error."""
    program = (
        "try:\n  try:\n    1/0\n  except ZeroDivisionError as e:\n    raise KeyError('a') from e\n"
        "except KeyError:\n  raise OSError('b')"
    )
    lines = stderr_of(program)
    found = traceback_of(["noise", *lines])
    assert found is not None
    assert (found.error_type, found.message) == ("OSError", "b")
    assert found.text == "\n".join(lines)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with 3.11")
def test_exception_groups_are_recognised():
    """The tree of a group is kept whole."""
    lines = stderr_of("raise ExceptionGroup('many', [ValueError(1), KeyError('k')])")
    found = traceback_of(["noise", *lines])
    assert found is not None
    assert (found.error_type, found.message) == ("ExceptionGroup", "many (2 sub-exceptions)")
    assert found.text == "\n".join(lines)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["error: no such file"],
        ["Traceback (most recent call last):"],
        ["Traceback (most recent call last):", "not a frame"],
        ["Traceback (most recent call last):", '  File "x", line 1', "    1/0"],
        ["SyntaxError: not from the interpreter"],
        ["Traceback (most recent call last):", '  File "x", line 1', "ValueError: x"] + ["went on"] * 40,
    ],
)
def test_other_output_is_no_traceback(lines):
    """Text that is not a traceback at the end is left alone."""
    assert traceback_of(lines) is None
