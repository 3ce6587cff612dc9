"""Lists the fixture plugins; nothing else stands here."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.postgres"]
