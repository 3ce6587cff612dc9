"""Benchmarks: ours beside the peer, measured in one run. Started by `python tests/bench/run.py`, not by pytest."""

from __future__ import annotations
