"""Errors of one cause have one fingerprint, others have not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from pipespan.model.fingerprint import fingerprint, fingerprint_of_log

SOURCE = """
import json

def load(text):
    return json.loads(text)

def retry(depth):
    return retry(depth - 1) if depth else load("{")

def divide(number):
    return number / 0

def chained(text):
    try:
        load(text)
    except ValueError as error:
        raise RuntimeError("no " + text) from error
"""


def failure(folder: Path, call: str, *, above: str = "", name: str = "program.py") -> str:
    """Return the fingerprint of what `call` raises in a program of these lines in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(above + SOURCE)
    spec = importlib.util.spec_from_file_location("program", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        eval(call, vars(module))
    except Exception as error:
        return fingerprint(type(error).__qualname__, str(error), traceback.format_exc())
    raise AssertionError(call)


def test_the_same_error_in_two_runs(tmp_path):
    """Other values, other lines, other folders and another depth of recursion: one cause."""
    known = failure(tmp_path / "run1", "retry(3)")
    assert failure(tmp_path / "run1", "retry(3)") == known
    assert failure(tmp_path / "run2", "retry(40)", above="# new\n" * 20) == known
    assert failure(tmp_path / "venv/lib/python3.12/site-packages/deep", "retry(1)") == known
    assert failure(tmp_path, "load('{')") == failure(tmp_path / "x", "load('{ ')")


def test_a_file_of_a_temporary_name(tmp_path):
    """Random and numbered names of files do not count."""
    known = failure(tmp_path, "divide(1)", name="tmpab3_9xyz.py")
    assert failure(tmp_path, "divide(2)", name="tmpq_81yabc.py") == known
    assert failure(tmp_path, "divide(2)", name="cell_12.py") == failure(
        tmp_path, "divide(2)", name="cell_7.py"
    )


def test_different_errors_differ(tmp_path):
    """Another type, another function, another way there or another cause: another fingerprint."""
    calls = ["load('{')", "load(None)", "retry(1)", "divide(1)", "divide('x')", "chained('{')"]
    assert len({failure(tmp_path, call) for call in calls}) == len(calls)


def test_packages_are_told_apart_by_their_name():
    """Of a package's `__init__` the folder counts, on every system."""

    def of(path: str) -> str:
        return fingerprint("E", "", f'Traceback:\n  File "{path}", line 3, in f\n    g()\n')

    assert of("/a/json/__init__.py") == of("C:\\b\\json\\__init__.py") != of("/a/yaml/__init__.py")
    assert of("/a/x/util.py") == of("/b/y/util.py") != of("/b/y/utils.py")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("line 3 of 'a b'", "line 17 of 'c'"),
        ('can\'t find "x"', 'can\'t find "y z"'),
        ("object at 0x7f00ab", "object at 0xDEAD"),
        ("id 5f1c2e9e-4f3a-4b5c-8d7e-123456789abc gone", "id 00000000-4f3a-4b5c-8d7e-123456789abc gone"),
        ("took 1.5e-3 s", "took -12 s"),
        ("commit deadbeef01 broken\nmore", "\n commit  0123456789abcdef broken"),
    ],
)
def test_messages_without_a_traceback(one, other):
    """Numbers, ids, addresses, quoted text, spaces and further lines of a message do not count."""
    assert fingerprint("ERROR", one, None) == fingerprint("ERROR", other, "no frames here")
    assert fingerprint("ERROR", one, None) != fingerprint("CRITICAL", one, None)


def test_other_words_are_other_errors():
    """Words outside of quotes count."""
    texts = ["disk full", "disk is full", "", "'a'", "0", "a-b"]
    assert len({fingerprint("ERROR", text, None) for text in texts}) == len(texts)


def test_only_errors_have_one():
    """Records below ERROR have none; a record without an exception stands for its level."""
    assert fingerprint_of_log("WARNING", None, "x", None) is None
    assert fingerprint_of_log("ERROR", None, "x", None) == fingerprint("ERROR", "x", None)
    assert fingerprint_of_log("ERROR", "", "x", None) == fingerprint("", "x", None)


def test_a_million_characters_are_quick():
    """Only the end of a traceback and the head of a message are looked at."""
    for text in ("x" * 1_000_000, "'" * 1_000_000, '"' * 999_999, "a" * 1_000_000, '  File "' * 100_000):
        assert len(fingerprint("E", text, text)) == 16


def test_it_is_the_same_in_another_process():
    """Nothing in it depends on the process, such as the seed of hashes."""
    code = "from pipespan.model.fingerprint import fingerprint; print(fingerprint('E', 'a 1', None))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint("E", "a 2", None)
