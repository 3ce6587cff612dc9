"""The programs that are measured from outside, each run as a process of its own."""

from __future__ import annotations
