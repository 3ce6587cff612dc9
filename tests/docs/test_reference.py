from __future__ import annotations

import re
from dataclasses import fields

import pytest

import pipespan
from pipespan.config import PREFIX, Settings
from pipespan.model.rows import ROW_TYPES, TABLES, columns
from tests.docs.pages import PAGES, ROOT, name_of
from tests.docs.programs import run_program

_REFERENCE = ROOT / "docs" / "reference"
_OUTSIDE_OF_SETTINGS = {"PIPESPAN_TEST_DSN"}


def _section(page, heading):
    text = (_REFERENCE / page).read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=TABLES.get)
def test_each_column_is_documented(row_type):
    """Whoever scripts against a table finds each of its columns on the page."""
    documented = set(re.findall(r"`(\w+)`", _section("tables.md", TABLES[row_type])))
    assert set(columns(row_type)) <= documented


def test_each_public_name_is_documented():
    """No name is exported without a word on it."""
    text = (_REFERENCE / "api.md").read_text(encoding="utf-8")
    assert [name for name in pipespan.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_what_is_documented_of_a_node_exists(tmp_path):
    """The page promises no attribute and no method that a node lacks."""
    rows = re.findall(r"^\| (`.+?) \|", _section("api.md", "Node"), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert {"track", "node_id", "metric"} <= documented
    code = "import pipespan\nwith pipespan.pipeline('one') as node:\n    print(*dir(node))\n"
    assert sorted(documented - set(run_program(code, tmp_path).stdout.split())) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_variable_that_a_page_names_is_a_setting(page):
    """A page names no environment variable that does nothing."""
    known = {PREFIX + field.name.upper() for field in fields(Settings)} | _OUTSIDE_OF_SETTINGS
    named = set(re.findall(r"\bPIPESPAN_[A-Z][A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert sorted(named - known) == []
