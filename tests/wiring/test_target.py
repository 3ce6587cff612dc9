"""Which database the settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipespan.config import Settings, load_settings
from pipespan.wiring.target import target_of


def settings(tmp_path: Path, **values: object) -> Settings:
    return load_settings({}, tmp_path, state_dir=tmp_path / "state", **values)


@pytest.mark.parametrize(
    ("dsn", "target"),
    [
        ("postgresql://me:secret@db.example.org:5433/runs", "postgres:db.example.org:5433/runs"),
        ("host=db port=5433 dbname=runs password='se cret'", "postgres:db:5433/runs"),
        ("service=monitoring", "postgres:monitoring:/"),
    ],
)
def test_a_target_names_the_database_and_never_the_password(tmp_path: Path, dsn: str, target: str) -> None:
    """What a stream remembers of its database is read by people."""
    assert target_of(settings(tmp_path, dsn=dsn)) == target


def test_a_query_of_a_url_tells_targets_apart_without_showing(tmp_path: Path) -> None:
    """A URL may name its host, or a password, in the query."""
    one, other = (
        target_of(settings(tmp_path, dsn=f"postgresql:///runs?host=/run/pg&password={word}"))
        for word in ("alpha", "beta")
    )
    assert one != other
    assert "alpha" not in one


def test_the_embedded_database_is_named_by_its_folder(tmp_path: Path) -> None:
    """Two state folders are two databases."""
    assert target_of(settings(tmp_path)) == f"embedded:{tmp_path / 'state'}"
