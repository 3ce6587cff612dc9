"""The pages of the project, and what is marked in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda path: path.as_posix(),
)
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"^<!-- example: runs -->\n+```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_CONNECTED_EXAMPLE = re.compile(
    r"^<!-- example: runs with a database -->\n+```python\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def name_of(page: Path) -> str:
    """Return a page's path from the top of the project."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def examples(page: Path) -> list[str]:
    """Return the Python examples that a page promises to run."""
    return _EXAMPLE.findall(page.read_text(encoding="utf-8"))


def connected_examples(page: Path) -> list[str]:
    """Return the Python examples that a page promises to run where there is a database."""
    return _CONNECTED_EXAMPLE.findall(page.read_text(encoding="utf-8"))
