"""Lists the fixture plugins, and keeps watchers from being started."""

from __future__ import annotations

import os

os.environ["PIPESPAN_WATCHER"] = "0"  # no process of a test leaves one behind, unless the test is about it

pytest_plugins = ["tests.fixtures.postgres"]
