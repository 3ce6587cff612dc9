"""Nodes that a RecursionError left so deep that nothing of their end could be written: it is, from further up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipespan.record.node import Node


class Unclosed:
    """Keeps such nodes, from any thread.

    Args:
        end: ends a node, which an exception left; raises RecursionError where there still is no stack.
    """

    def __init__(self, end: Callable[[Node, BaseException | None], None]) -> None:
        self._end = end
        self._left: deque[tuple[Node, BaseException | None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._left)

    def keep(self, node: Node, error: BaseException | None) -> None:
        """Keep `node`, which `error` left."""
        self._left.append((node, error))

    def end_all(self) -> None:
        """End them, the deepest first.

        Raises:
            RecursionError: there is not enough stack here either; they stay.
        """
        while self._left:
            try:
                node, error = self._left.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                self._end(node, error)
            except RecursionError:
                self._left.appendleft((node, error))
                raise
