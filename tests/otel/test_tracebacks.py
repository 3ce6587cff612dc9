"""Remembered tracebacks are those of the standard library, to the character."""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from pipespan.otel import tracebacks
from pipespan.otel.tracebacks import TracebackFormatter


def plain() -> None:
    raise ValueError("boom " + str(len("x" * 3)))


def chained() -> None:
    try:
        plain()
    except ValueError as cause:
        try:
            raise KeyError("between") from cause
        except KeyError:
            raise RuntimeError("last")  # noqa: B904 - an implicit context is wanted


def deep(depth: int = 30) -> None:
    if depth:
        deep(depth - 1)
    raise RecursionError("deep")


def syntax() -> None:
    compile("a = = b", "config.py", "exec")


def cyclic() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def grouped() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("exception groups are new in Python 3.11")
    try:
        plain()
    except ValueError as one:
        group: Any = vars(builtins)["ExceptionGroup"]
        raise group("several", [one, KeyError("two")]) from one


def noted() -> None:
    error = ValueError("noted")
    if hasattr(error, "add_note"):
        error.add_note("look at the disk")
    raise error


def caught(fail: Callable[[], None]) -> Exception:
    try:
        fail()
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("fail", [plain, chained, deep, syntax, cyclic, grouped, noted])
def test_text_is_that_of_the_standard_library(fail: Callable[[], None]) -> None:
    """Causes, contexts, groups, notes, repeated frames and syntax errors read as Python prints them."""
    formatter = TracebackFormatter()
    error = caught(fail)
    expected = "".join(traceback.format_exception(error))
    for _ in range(2):
        assert formatter.format(type(error), error, error.__traceback__) == expected


def test_exception_without_a_traceback_is_its_last_line() -> None:
    """An exception that was never raised has no frames."""
    error = ValueError("x")
    assert TracebackFormatter().format(ValueError, error, None) == "ValueError: x\n"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with endless places to fail at is formatted all the same."""
    monkeypatch.setattr(tracebacks, "MAX_FRAMES", 2)
    formatter = TracebackFormatter()
    for fail in (plain, chained, noted):
        error = caught(fail)
        formatter.format(type(error), error, error.__traceback__)
    assert len(formatter._texts) <= 2
