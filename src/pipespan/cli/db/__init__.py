"""`pipespan db`: looks after the database that experiments are kept in."""

from __future__ import annotations

from pipespan.cli.db.group import command

__all__ = ["command"]
