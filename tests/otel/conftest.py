"""A process of its own, loggers apart from the process's, and the context of a node."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import context as otel_context

from tests.otel.doubles import NODE_KEY, Node, Rows

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def node() -> Node:
    """A node in no context."""
    return Node()


@pytest.fixture
def rows() -> Rows:
    """An empty sink."""
    return Rows()


@pytest.fixture
def in_node(node: Node) -> Iterator[Node]:
    """Run the test inside the context of a node."""
    token = otel_context.attach(otel_context.set_value(NODE_KEY, node))
    yield node
    otel_context.detach(token)


@pytest.fixture
def logger_of() -> Callable[[logging.Handler], logging.Logger]:
    """Make a logger with one handler, apart from the tree of the process's loggers."""

    def make(handler: logging.Handler, name: str = "app.load") -> logging.Logger:
        logger = logging.Logger(name)  # noqa: LOG001 - it must not be known to the process
        logger.addHandler(handler)
        return logger

    return make


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python source in a process of its own, with warnings as errors, and return how it ended."""

    def run(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            env={**inherited, "PYTHONPATH": str(SOURCE), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
