from __future__ import annotations

import pytest

from tests.docs.pages import PAGES, connected_examples, examples, name_of
from tests.docs.programs import run_program

_EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(examples(page), start=1)
]

_CONNECTED_EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(connected_examples(page), start=1)
]


@pytest.mark.parametrize("code", _EXAMPLES)
def test_each_marked_example_runs(code, tmp_path):
    """An example runs as it stands, as a program of its own, without a word on standard error."""
    done = run_program(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", _CONNECTED_EXAMPLES)
def test_each_example_with_a_database_runs(code, tmp_path, dsn):
    """The same for examples that record and read: each has an empty database, named by `PIPESPAN_DSN`."""
    done = run_program(code, tmp_path, dsn)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_examples():
    """The marks are spelled as this test expects."""
    assert len(_EXAMPLES) >= 4
    assert len(_CONNECTED_EXAMPLES) >= 4
