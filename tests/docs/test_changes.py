from __future__ import annotations

import re

from tests.docs.pages import ROOT

_CHANGES = ROOT / "docs" / "changes"
_NAME = re.compile(r"\d+(\.[a-z][a-z0-9-]*)?\.(added|changed|fixed|removed)\.md")


def test_fragments_are_named_by_issue_and_kind():
    """A release can sort the fragments by their names alone."""
    names = {path.name for path in _CHANGES.iterdir()} - {"README.md"}
    assert sorted(name for name in names if not _NAME.fullmatch(name)) == []


def test_fragments_are_short_sentences():
    """A fragment is prose for a list: no heading, no list of its own, ended by a period."""
    for path in _CHANGES.glob("*.md"):
        text = path.read_text(encoding="utf-8").strip()
        if path.name != "README.md":
            assert text.endswith("."), path.name
            assert not text.startswith(("#", "-", "*")), path.name
            assert len(text) <= 500, path.name


def test_the_version_is_explained():
    """The current version has a section in the changelog, or there are fragments for it to come."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'"(.+)"', (ROOT / "src" / "pipespan" / "_version.py").read_text(encoding="utf-8"))
    assert version is not None
    assert f"## {version[1]}" in changelog or any(_NAME.fullmatch(path.name) for path in _CHANGES.iterdir())
