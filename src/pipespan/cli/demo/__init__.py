"""`pipespan demo`: a real pipeline over the Python sources of this machine, and the live view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipespan.cli.demo.live import command

__all__ = ["command"]


def __getattr__(name: str) -> Any:
    # The pipeline beside it is a program of its own and needs nothing of the command line.
    if name != "command":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipespan.cli.demo import live  # noqa: PLC0415 - see above

    return live.command
