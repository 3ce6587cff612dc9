"""Lists fixture plugins, says how hypothesis runs and how many run at once, and keeps watchers from being started."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Timings never decide a test: the machine may be busy.
settings.register_profile("pipespan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipespan")

# A shell starts a background job with these ignored, and an ignored signal stays ignored in every child.
for _name in ("SIGINT", "SIGQUIT", "SIGHUP"):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(
            getattr(signal, _name), signal.default_int_handler if _name == "SIGINT" else signal.SIG_DFL
        )

# Hundreds of programs are started: where they may not keep what they compiled, each compiles the whole package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

os.environ["PIPESPAN_WATCHER"] = "0"  # no process of a test leaves one behind, unless the test is about it

pytest_plugins = ["tests.fixtures.postgres"]


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` means: half of what a test of real programs takes is waiting for them."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2 * (os.cpu_count() or 1)
