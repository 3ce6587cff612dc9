from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import PAGES, ROOT, name_of, prose

_TEST = re.compile(r"`(tests/[\w/.-]+\.py)(?:::(\w+))?`")
_ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"


def _functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_test_that_a_page_names_exists(page):
    """A promise holds as long as its test does, so the test must be there under the name that is given."""
    missing = []
    for path, function in _TEST.findall(prose(page)):
        file = ROOT / path
        if not file.is_file() or (function and function not in _functions(file)):
            missing.append(f"{path}::{function}" if function else path)
    assert missing == []


def test_each_promise_of_the_architecture_names_a_test():
    """Each row of the table of promises has at least one test in its last column."""
    section = prose(_ARCHITECTURE).split("## Promises", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert rows
    assert [row for row in rows if not _TEST.search(row.rsplit("|", 2)[1])] == []
