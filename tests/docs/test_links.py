from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, name_of, prose

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_inside_the_project_leads_somewhere(page):
    """A relative link names a file that exists, and a heading that the file has."""
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.is_file() or (anchor and anchor not in _anchors(goal)):
            broken.append(target)
    assert broken == []


def test_each_page_is_reached_from_the_index():
    """No page of the documentation is left out of the index."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in _LINK.findall(prose(index))}
    pages = {page for page in PAGES if (ROOT / "docs") in page.parents and page.parent.name != "changes"}
    assert sorted(map(name_of, pages - linked - {index})) == []
