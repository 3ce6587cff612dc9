"""pipespan: a long-running pipeline, live in Postgres and in OpenTelemetry.

The names below are loaded when they are first used, so that `import pipespan` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipespan._version import __version__

if TYPE_CHECKING:
    from pipespan.errors import Cancelled
    from pipespan.record.logs import Logger
    from pipespan.record.node import Node
    from pipespan.wiring.api import (
        advance,
        artifact,
        cancel_requested,
        child_env,
        configure,
        current,
        event,
        flush,
        get_logger,
        health,
        logged,
        metric,
        on,
        phase,
        pipeline,
        progress,
        step,
        substep,
        track,
        wrap,
    )
    from pipespan.wiring.client import Client
    from pipespan.wiring.health import Health
    from pipespan.wiring.propagate import extract, inject

__all__ = [
    "Cancelled",
    "Client",
    "Health",
    "Logger",
    "Node",
    "__version__",
    "advance",
    "artifact",
    "cancel_requested",
    "child_env",
    "configure",
    "current",
    "event",
    "extract",
    "flush",
    "get_logger",
    "health",
    "inject",
    "logged",
    "metric",
    "on",
    "phase",
    "pipeline",
    "progress",
    "step",
    "substep",
    "track",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {
        "Cancelled": "pipespan.errors",
        "Client": "pipespan.wiring.client",
        "Node": "pipespan.record.node",
        "Logger": "pipespan.record.logs",
        "Health": "pipespan.wiring.health",
        "extract": "pipespan.wiring.propagate",
        "inject": "pipespan.wiring.propagate",
    }
    value = getattr(importlib.import_module(homes.get(name, "pipespan.wiring.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
