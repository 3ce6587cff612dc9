"""What `OTEL_TRACES_EXPORTER=pipespan` and its siblings name: exporters that are built without arguments.

They write through the runtime of this process. Where pipespan is disabled they take everything and do nothing.
"""

from __future__ import annotations

from opentelemetry.context import Context

from pipespan.model.rows import Row
from pipespan.otel.exporters import RowLogExporter, RowMetricExporter, RowSpanExporter
from pipespan.otel.ports import OpenNode
from pipespan.wiring.process import PROCESS


class _LateSink:
    """Writes to the runtime as it is when a row comes: exporters are built before the program has configured us."""

    def write(self, row: Row, *, droppable: bool = False) -> None:
        runtime = PROCESS.runtime()
        if runtime is not None:
            runtime.recorder.write(row, droppable=droppable)


def _find_node(context: Context) -> OpenNode | None:
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.recorder.find_node(context)


def _running_pipeline() -> OpenNode | None:
    runtime = PROCESS.runtime()
    return None if runtime is None else runtime.recorder.default_node()


class PipespanSpanExporter(RowSpanExporter):
    """Writes the final row of each ended span that is a node."""

    def __init__(self) -> None:
        super().__init__(_LateSink())


class PipespanLogExporter(RowLogExporter):
    """Writes the row of each log record that belongs to a pipeline and has none yet."""

    def __init__(self) -> None:
        super().__init__(_find_node, _LateSink())


class PipespanMetricExporter(RowMetricExporter):
    """Writes what instruments of the program measure, for the pipeline that runs."""

    def __init__(self) -> None:
        super().__init__(_running_pipeline, _LateSink())
