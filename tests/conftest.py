"""Lists the fixture plugins, says how hypothesis runs, and keeps watchers from being started."""

from __future__ import annotations

import os

from hypothesis import settings

# Timings never decide a test: the machine may be busy.
settings.register_profile("pipespan", deadline=None)
settings.load_profile("pipespan")

os.environ["PIPESPAN_WATCHER"] = "0"  # no process of a test leaves one behind, unless the test is about it

pytest_plugins = ["tests.fixtures.postgres"]
