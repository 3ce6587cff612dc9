"""Joins the OTel providers of the program and puts pipespan's parts on them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipespan.model import semconv
from pipespan.otel.handler import RowLogHandler
from pipespan.otel.providers import Pending, Providers, join_providers
from pipespan.otel.spans import PlainSpans, SdkSpans
from pipespan.wiring.logcapture import LogCapture

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipespan.model.redact_rows import RowGate
    from pipespan.model.resources import ResourceSample
    from pipespan.otel.lifecycle import LifecycleSink
    from pipespan.otel.ports import FindNode, LogWriter
    from pipespan.otel.progress import RunningNodes
    from pipespan.record.ports import RowSink, Spans


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What was joined.

    Attributes:
        spans: starts the nodes' shadows.
        handler: takes log records in.
        capture: has all that goes through `logging` reach it.
        providers: what belongs to OTel.
    """

    spans: Spans
    handler: RowLogHandler
    capture: LogCapture
    providers: Providers
    lifecycle: LifecycleSink | None

    def take(self, record: logging.LogRecord) -> None:
        """Take a log record in, past the program's own handlers."""
        self.handler.handle(record)

    def tell_progress(self, running: RunningNodes) -> None:
        """Tell of the progress of nodes as metrics, where there is a meter."""
        if self.providers.meter is not None:
            from pipespan.otel.progress import register_progress  # noqa: PLC0415 - needs the metrics API

            register_progress(self.providers.meter.get_meter(semconv.SCOPE), running)

    def flush(self) -> Pending:
        """Have exporters that were made here begin to deliver what they hold."""
        self._tell()
        return self.providers.flush()

    def close(self) -> Pending:
        """Begin to shut down the providers that were made here, which deliver first."""
        self._tell()
        return self.providers.shutdown()

    def _tell(self) -> None:
        if self.lifecycle is not None:
            self.lifecycle.tell()


def join_telemetry(
    environ: Mapping[str, str],
    find_node: FindNode,
    sink: LogWriter,
    spool: RowSink | None,
    latest: Callable[[], ResourceSample | None],
    leaf_context: Callable[[], Context | None],
    gate: RowGate,
) -> Telemetry:
    """Join what there is; never raises.

    Args:
        environ: the `OTEL_*` variables.
        find_node: tells whose record it is.
        sink: takes log rows.
        spool: takes all rows, which are then also told of as log events; None when they shall not be.
        latest: the last resource sample.
        leaf_context: the context of the deepest running node.
        gate: hides secrets in what goes over OTLP.
    """
    providers = join_providers(environ, _program(), gate.redactor)
    spans: Spans = PlainSpans()
    if providers.tracer is not None:
        spans = SdkSpans(providers.tracer.get_tracer(semconv.SCOPE))
    if providers.meter is not None:
        from pipespan.otel.gauges import register_gauges  # noqa: PLC0415 - needs the metrics API

        register_gauges(providers.meter.get_meter(semconv.SCOPE), latest, leaf_context)
    handler = RowLogHandler(find_node, sink, providers.logger, gate)
    capture = LogCapture(handler, find_node, sink)
    capture.observe(providers.logger)
    return Telemetry(spans, handler, capture, providers, _lifecycle(spool, providers.logger, gate))


def _lifecycle(spool: RowSink | None, provider: Any, gate: RowGate) -> LifecycleSink | None:
    if spool is None or provider is None:
        return None
    from pipespan.otel.lifecycle import LifecycleSink  # noqa: PLC0415 - no SDK, no import of it

    return LifecycleSink(spool, provider, gate.row)


def _program() -> str:
    return Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else "python"
