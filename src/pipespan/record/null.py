"""What scopes give when nothing is recorded: the same face as a live node, without effect."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, TypeVar

ItemT = TypeVar("ItemT")
FunctionT = TypeVar("FunctionT")


class NullNode:
    """Stands for a node when pipespan is disabled, or when there is no pipeline around."""

    __slots__ = ()

    name: str = ""
    node_id: str = ""
    experiment_id: str = ""
    job_id: str = ""
    level: str = "step"
    status: str = "running"
    completed: int = 0
    total: int | None = None

    def phase(self, name: str | None = None, **options: Any) -> NullScope:
        """Give a scope without effect."""
        return NULL_SCOPE

    step = substep = phase

    def track(
        self, items: Iterable[ItemT], *, unit: str | None = None, total: int | None = None
    ) -> Iterable[ItemT]:
        """Give the items back as they are."""
        return items

    def nothing(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    progress = advance = message = set = plan = event = artifact = metric = link = nothing


class NullScope:
    """A scope without effect."""

    __slots__ = ()

    def __enter__(self) -> NullNode:
        return NULL_NODE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing."""

    async def __aenter__(self) -> NullNode:
        return NULL_NODE

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing."""

    def __call__(self, function: FunctionT) -> FunctionT:
        """Give the function back as it is."""
        return function


NULL_NODE: Final = NullNode()
NULL_SCOPE: Final = NullScope()
