"""Lists the fixture plugins, and says how hypothesis runs."""

from __future__ import annotations

from hypothesis import settings

# Timings never decide a test: the machine may be busy.
settings.register_profile("pipespan", deadline=None)
settings.load_profile("pipespan")

pytest_plugins = ["tests.fixtures.postgres"]
