"""The version, alone in a file so that nothing heavy is loaded to tell it."""

from __future__ import annotations

__version__ = "0.1.0"
