"""Where the SQL files are: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from importlib.resources.abc import Traversable
    else:
        from importlib.abc import Traversable

_MIGRATION_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_SUPERSEDES: Final = re.compile(rb"^-- supersedes: ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """A numbered file of `sql/migrations`.

    Attributes:
        version: the number that its name starts with, from 1 without gaps.
        name: the file's name.
        content: its bytes, with line ends as in the repository whatever the checkout made of them.
    """

    version: int
    name: str
    content: bytes

    @property
    def checksums(self) -> Sequence[str]:
        """What may be recorded of it: its own, and those of earlier contents that did the same."""
        earlier = (found.decode() for found in _SUPERSEDES.findall(self.content))
        return hashlib.sha256(self.content).hexdigest(), *earlier


@dataclass(frozen=True, slots=True)
class SqlFiles:
    """Reads the folder `sql`; keeps what it has read.

    Bytes and not text, because psycopg and the type checkers take bytes for trusted SQL.
    """

    root: Traversable
    _queries: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def query(self, name: str) -> bytes:
        """Return the named query of `sql/queries`."""
        known = self._queries.get(name)
        if known is None:
            known = (self.root / "queries" / f"{name}.sql").read_bytes()
            self._queries[name] = known
        return known

    def script(self, *names: str) -> bytes:
        """Return several queries without parameters as one script."""
        return b";\n".join(self.query(name) for name in names)

    def roles(self) -> bytes:
        """Return the script that makes roles for writers and readers."""
        return (self.root / "roles.sql").read_bytes()

    def query_names(self) -> list[str]:
        """Return the names of all queries, sorted."""
        files = (self.root / "queries").iterdir()
        return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))

    def useful(self) -> dict[str, str]:
        """Return the queries of `sql/useful` for people, by name; each begins with a comment that says what for."""
        files = [file for file in (self.root / "useful").iterdir() if file.name.endswith(".sql")]
        texts = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}
        return dict(sorted(texts.items()))

    def migrations(self) -> list[MigrationFile]:
        """Return the migrations in the order in which they apply."""
        found = []
        for file in (self.root / "migrations").iterdir():
            match = _MIGRATION_NAME.fullmatch(file.name)
            if match is not None:
                content = file.read_bytes().replace(b"\r\n", b"\n")
                found.append(MigrationFile(int(match[1]), file.name, content))
        return sorted(found, key=lambda migration: migration.version)


def open_sql() -> SqlFiles:
    """Find the folder `sql`.

    Raises:
        FileNotFoundError: neither the package nor a checkout around it has one.
    """
    # <source>/pipespan/store/sqlfiles.py, which in a checkout is beside <top>/sql.
    source = Path(__file__).resolve().parents[2]
    installed, checkout = source / "pipespan" / "_sql", source.parent / "sql"
    if installed.is_dir():
        return SqlFiles(installed)
    if source.name == "src" and checkout.is_dir():
        return SqlFiles(checkout)
    zipped = _zipped()
    if zipped.is_dir():
        return SqlFiles(zipped)
    message = f"no SQL files in {str(installed)!r} or {str(checkout)!r}; install pipespan again"
    raise FileNotFoundError(message)


def _zipped() -> Traversable:
    from importlib import resources  # noqa: PLC0415 - 1 MB of memory and 5 ms, of use only in a zip

    return resources.files("pipespan") / "_sql"
