"""Progress as metrics: of pipelines and phases, of a bounded number of them.

Off unless it is asked for: a series lives on in a backend long after its run, and a run's id is no part of one. Steps
are counted and not named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from pipespan.model import semconv
from pipespan.model.status import NodeLevel

MAX_SERIES: Final = 100
"""Most pipelines and phases that a process has series for in its life; what comes later shares one."""

_NAMED: Final = ("pipeline", "phase")


class RunningNode(Protocol):
    """What is asked of a node."""

    @property
    def level(self) -> NodeLevel:
        """Its level."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def pipeline_name(self) -> str:
        """Name of the experiment."""

    @property
    def completed(self) -> int:
        """Units that are done."""

    @property
    def total(self) -> int | None:
        """Units in all."""


RunningNodes = Callable[[], Sequence[RunningNode]]
_Key = tuple[str, NodeLevel, str]


def register_progress(meter: Meter, running: RunningNodes) -> None:
    """Create the instruments on `meter`.

    Args:
        meter: of the provider that is joined.
        running: gives the nodes that run in this process.
    """
    names = _Names()

    def completed(_options: CallbackOptions) -> Iterable[Observation]:
        return names.observations((node, node.completed) for node in running())

    def total(_options: CallbackOptions) -> Iterable[Observation]:
        return names.observations((node, node.total) for node in running() if node.total is not None)

    def count(_options: CallbackOptions) -> Iterable[Observation]:
        return _counts(running())

    meter.create_observable_gauge(
        semconv.METRIC_PROGRESS_COMPLETED,
        [completed],
        "{unit}",
        "Units that a running pipeline or phase has done.",
    )
    meter.create_observable_gauge(
        semconv.METRIC_PROGRESS_TOTAL, [total], "{unit}", "Units of a running pipeline or phase in all."
    )
    meter.create_observable_gauge(
        semconv.METRIC_RUNNING_NODES, [count], "{node}", "Nodes that run in this process, by level."
    )


class _Names:
    """Gives pipelines and phases their series; those that are too many share one."""

    def __init__(self) -> None:
        self._known: set[_Key] = set()

    def observations(self, values: Iterable[tuple[RunningNode, int | None]]) -> Iterable[Observation]:
        sums: Counter[_Key | None] = Counter()
        for node, value in values:
            if node.level in _NAMED and value is not None:
                sums[self._key(node)] += value
        return [Observation(value, _attributes(key)) for key, value in sums.items()]

    def _key(self, node: RunningNode) -> _Key | None:
        key = (node.pipeline_name, node.level, node.name)
        if key not in self._known:
            if len(self._known) >= MAX_SERIES:
                return None
            self._known.add(key)
        return key


def _attributes(key: _Key | None) -> dict[str, str | bool]:
    if key is None:
        return {semconv.METRIC_OVERFLOW: True}
    return {semconv.PIPELINE_NAME: key[0], semconv.NODE_LEVEL: key[1], semconv.NODE_NAME: key[2]}


def _counts(nodes: Sequence[RunningNode]) -> Iterable[Observation]:
    counts = Counter(node.level for node in nodes)
    return [Observation(count, {semconv.NODE_LEVEL: level}) for level, count in counts.items()]
