"""Takes the current node along to the workers of joblib."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Iterator
from typing import Any

import joblib

from pipespan.wiring.api import wrap


class Parallel(joblib.Parallel):  # type: ignore[misc] # no types are published for it
    """`joblib.Parallel` whose calls work below the node that was current when it was called.

    `from pipespan.integrations.joblib import Parallel` in the place of joblib's own is all that changes. joblib takes
    most items of a generator in a thread of its own, where the context is lost; so it is kept here.
    """

    def __call__(self, iterable: Iterable[Any]) -> Any:
        """Do the calls; see `joblib.Parallel`."""
        return super().__call__(_bound(iterable, contextvars.copy_context()))


def _bound(calls: Iterable[Any], context: contextvars.Context) -> Iterator[Any]:
    for function, args, kwargs in calls:
        yield context.run(wrap, function), args, kwargs
