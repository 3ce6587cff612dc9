"""Takes the current node along to the workers of an executor: threads, processes, or somebody's cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from pipespan.wiring.api import wrap

ResultT = TypeVar("ResultT")


class CarryingExecutor(Executor):
    """Hands all it gets to another executor, each call bound to the node that was current when it was handed over."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Future[ResultT]:
        """Submit a call; see `concurrent.futures.Executor.submit`."""
        return self._executor.submit(wrap(fn), *args, **kwargs)

    def map(
        self,
        fn: Callable[..., ResultT],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **further: Any,
    ) -> Iterator[ResultT]:
        """Submit a call for each item; see `concurrent.futures.Executor.map`."""
        return self._executor.map(wrap(fn), *iterables, timeout=timeout, chunksize=chunksize, **further)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Executor
        """End the executor; see `concurrent.futures.Executor.shutdown`."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def carry(executor: Executor) -> CarryingExecutor:
    """Return `executor` such that what its workers record stands below the node that was current at the call.

    `with carry(ProcessPoolExecutor(8)) as pool:` is all that changes. Any executor will do: `ThreadPoolExecutor`,
    `ProcessPoolExecutor` with every start method, loky's, MPI's, Dask's `client.get_executor()`. Functions that are
    submitted must be such as the executor can take to its workers without.
    """
    return CarryingExecutor(executor)
