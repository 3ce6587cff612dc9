"""What tests of the receiver share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row


@pytest.fixture
def rows(dsn: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Return a function that runs SQL and returns its rows."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:

        def run(query: str) -> list[dict[str, Any]]:
            cursor = connection.execute(query.encode())
            return [] if cursor.description is None else list(cursor)

        yield run
