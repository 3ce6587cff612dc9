from __future__ import annotations

import pytest

from tests.docs.pages import PAGES, examples, name_of
from tests.docs.programs import run_program

_EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(examples(page), start=1)
]


@pytest.mark.parametrize("code", _EXAMPLES)
def test_each_marked_example_runs(code, tmp_path):
    """An example runs as it stands, as a program of its own, without a word on standard error."""
    done = run_program(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_examples():
    """The marks are spelled as this test expects."""
    assert len(_EXAMPLES) >= 4
