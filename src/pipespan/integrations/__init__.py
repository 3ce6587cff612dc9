"""Adapters to the engines that spread work over processes and machines: each is imported by who uses it.

All are alike. Where work is handed over, `hand_over` tells of it and returns the headers that lead to its parent; where
it is done, a `Piece` opens its node below that parent. Everything else is the engine's.
"""
