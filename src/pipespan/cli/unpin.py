"""`pipespan unpin`, beside `pipespan pin`."""

from __future__ import annotations

from pipespan.cli.pin import unpin as command

__all__ = ["command"]
