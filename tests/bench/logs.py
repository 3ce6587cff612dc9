"""A log record inside a step: into the spool, with and without OTel beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider

import pipespan
from tests.bench.exporters import batching_logger_provider, batching_tracer_provider
from tests.bench.health import with_health
from tests.bench.otlpsink import running_sink
from tests.bench.pairs import timed_pairs
from tests.bench.result import Options, Samples

MICROSECONDS = 1e6
RECORDS = 500
"""In a block; fewer than a batch processor's queue holds (2,048), or it would drop some and be the faster for it."""


def against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record that goes through the Logs API into the spool."""
    joined = LoggerProvider()
    set_logger_provider(joined)
    return {"log": _measure(options, joined.force_flush)}


def batched_against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record that a batch processor takes too."""
    joined = batching_logger_provider()
    set_logger_provider(joined)
    return {"log_batch": _measure(options, joined.force_flush)}


def exported_against_bridge(options: Options) -> dict[str, Samples]:
    """Measure a record that is exported over OTLP/HTTP too, until it has arrived."""
    with running_sink() as endpoint:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        os.environ["OTEL_METRICS_EXPORTER"] = "none"
        os.environ["OTEL_TRACES_EXPORTER"] = "none"
        return {"log_otlp": _measure(options, lambda: pipespan.flush(30))}


def without_sdk(options: Options) -> dict[str, Samples]:
    """Measure a record of a program that has no SDK."""
    return {"log_plain": _measure(options, lambda: None)}


def _measure(options: Options, flush: Callable[[], object]) -> Samples:
    trace.set_tracer_provider(batching_tracer_provider())
    pipespan.configure(store="none")
    logging.root.setLevel(logging.INFO)
    provider = batching_logger_provider()
    bridged = logging.getLogger("bench.peer")
    bridged.propagate = False
    bridged.addHandler(LoggingHandler(logger_provider=provider))
    own = logging.getLogger("bench.ours")

    def ours() -> None:
        _log(own)
        flush()

    def peer() -> None:
        _log(bridged)
        provider.force_flush()

    # Both in the same step, so that both find a span.
    with pipespan.pipeline("bench"), pipespan.step("part"):
        return with_health(
            timed_pairs(ours, peer, units=RECORDS, pairs=options.pick(41, 9), scale=MICROSECONDS)
        )


def _log(logger: logging.Logger) -> None:
    for number in range(RECORDS):
        logger.info("item %d of %s is done", number, "the batch")
