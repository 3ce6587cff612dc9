"""Stands for other releases of pipespan: the real SQL files, with other migrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipespan.store.sqlfiles import MigrationFile, SqlFiles, open_sql


@dataclass(frozen=True)
class ChangedFiles:
    real: SqlFiles
    files: tuple[MigrationFile, ...]

    def migrations(self) -> list[MigrationFile]:
        return list(self.files)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def other_release(*files: MigrationFile) -> SqlFiles:
    return ChangedFiles(open_sql(), files)  # type: ignore[return-value]  # has all that is called
