"""Resource use as observable instruments: callbacks hand out the last sample and read nothing themselves.

Two readers then see the same figures, and a callback costs next to nothing. Each observation carries the
context of the live node, so that its exemplar names the span in which the process was, without a series per
node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.util.types import Attributes

from pipespan.model import semconv
from pipespan.model.resources import ResourceSample

LatestSample: TypeAlias = Callable[[], ResourceSample | None]
LeafContext: TypeAlias = Callable[[], Context | None]
Value: TypeAlias = float | int | None
Reading: TypeAlias = Callable[[ResourceSample], Sequence[tuple[Value, Attributes]]]
Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]


def register_gauges(meter: Meter, latest: LatestSample, context_of_leaf: LeafContext) -> None:
    """Create the instruments of this process on `meter`, named as the semantic conventions 1.44 name them.

    Args:
        meter: of the provider that is joined.
        latest: the last sample; None while there is none, or none that is this process's.
        context_of_leaf: the context of the deepest running node.
    """

    def observe(reading: Reading) -> Sequence[Callback]:
        return [_callback(latest, context_of_leaf, reading)]

    meter.create_observable_counter(
        semconv.METRIC_CPU_TIME, observe(_cpu_time), "s", "Total CPU seconds broken down by different states."
    )
    meter.create_observable_gauge(
        semconv.METRIC_CPU_UTILIZATION,
        observe(lambda sample: [(sample.cpu_utilization, None)]),
        "1",
        "Share of the CPUs available to the process that it used since the last sample.",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_MEMORY_USAGE,
        observe(lambda sample: [(sample.memory_rss_bytes, None)]),
        "By",
        "The amount of physical memory in use.",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_MEMORY_VIRTUAL,
        observe(lambda sample: [(sample.memory_vms_bytes, None)]),
        "By",
        "The amount of committed virtual memory.",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_THREAD_COUNT,
        observe(lambda sample: [(sample.thread_count, None)]),
        "{thread}",
        "Process threads count.",
    )
    meter.create_observable_up_down_counter(
        semconv.METRIC_FD_COUNT,
        observe(lambda sample: [(sample.open_fds, None)]),
        "{file_descriptor}",
        "Number of unix file descriptors in use by the process.",
    )
    meter.create_observable_counter(
        semconv.METRIC_DISK_IO, observe(_disk_io), "By", "Disk bytes transferred."
    )


def _cpu_time(sample: ResourceSample) -> Sequence[tuple[Value, Attributes]]:
    return [
        (sample.cpu_time_user_s, {semconv.CPU_MODE: "user"}),
        (sample.cpu_time_system_s, {semconv.CPU_MODE: "system"}),
    ]


def _disk_io(sample: ResourceSample) -> Sequence[tuple[Value, Attributes]]:
    return [
        (sample.read_bytes, {semconv.DISK_IO_DIRECTION: "read"}),
        (sample.write_bytes, {semconv.DISK_IO_DIRECTION: "write"}),
    ]


def _callback(latest: LatestSample, context_of_leaf: LeafContext, reading: Reading) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        sample = latest()
        if sample is None:
            return []
        context = context_of_leaf()
        return [
            Observation(value, attributes, context)
            for value, attributes in reading(sample)
            if value is not None
        ]

    return observe
