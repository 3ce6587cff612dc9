"""A log record inside a step: into the spool, with and without OTel beside it."""

from __future__ import annotations

import logging
import os
from functools import partial

from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

import pipespan
from tests.bench.exporters import batching_logger_provider, batching_tracer_provider
from tests.bench.health import with_health
from tests.bench.otlpsink import running_sink
from tests.bench.pairs import Block, Side, timed_pairs
from tests.bench.result import Options, Samples

MICROSECONDS = 1e6
RECORDS = 500
BURST = 1500
"""Three batches of an exporter, and fewer records than its queue holds (2,048), or it would drop some."""


def against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record that goes through the Logs API into the spool."""
    joined = LoggerProvider()
    set_logger_provider(joined)
    return {"log": _measure(options, joined.force_flush, batching_logger_provider())}


def batched_against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record that a batch processor takes too."""
    joined = batching_logger_provider()
    set_logger_provider(joined)
    return {"log_batch": _measure(options, joined.force_flush, batching_logger_provider())}


def without_sdk(options: Options) -> dict[str, Samples]:
    """Measure a record of a program that has no SDK."""
    return {"log_plain": _measure(options, bool, batching_logger_provider())}


def exported_against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record of a burst that is being exported over OTLP/HTTP meanwhile."""
    with running_sink() as endpoint:
        _ask_for_export(endpoint)
        flush = partial(pipespan.flush, 30)
        return {
            "log_otlp": _measure(
                options, flush, batching_logger_provider(), count=BURST, is_flush_counted=False
            )
        }


def exported_against_exported(options: Options) -> dict[str, Samples]:
    """Measure a record until it has arrived over OTLP/HTTP, which the peer's does too."""
    with running_sink() as endpoint:
        _ask_for_export(endpoint)
        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        return {"log_otlp_all": _measure(options, partial(pipespan.flush, 30), provider)}


def _ask_for_export(endpoint: str) -> None:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    os.environ["OTEL_METRICS_EXPORTER"] = "none"
    os.environ["OTEL_TRACES_EXPORTER"] = "none"


def _measure(
    options: Options,
    flush: Block,
    bridged: LoggerProvider,
    *,
    count: int = RECORDS,
    is_flush_counted: bool = True,
) -> Samples:
    trace.set_tracer_provider(batching_tracer_provider())
    pipespan.configure(store="none")
    logging.root.setLevel(logging.INFO)
    peer_log = logging.getLogger("bench.peer")
    peer_log.propagate = False
    peer_log.addHandler(LoggingHandler(logger_provider=bridged))
    sides = _flushed if is_flush_counted else Side
    ours = sides(partial(_log, logging.getLogger("bench.ours"), count), flush)
    peer = sides(partial(_log, peer_log, count), bridged.force_flush)
    # Both in the same step, so that both find a span.
    with pipespan.pipeline("bench"), pipespan.step("part"):
        samples = timed_pairs(ours, peer, units=count, pairs=options.pick(41, 9), scale=MICROSECONDS)
        return with_health(samples)


def _flushed(run: Block, flush: Block) -> Side:
    def run_and_flush() -> None:
        run()
        flush()

    return Side(run_and_flush)


def _log(logger: logging.Logger, count: int) -> None:
    for number in range(count):
        logger.info("item %d of %s is done", number, "the batch")
