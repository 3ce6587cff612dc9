"""Opening and closing a step: its span, and both its rows in the spool."""

from __future__ import annotations

from functools import partial

import logfire
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

import pipespan
from pipespan import Node
from pipespan.record.scope import Scope
from tests.bench.exporters import batching_tracer_provider
from tests.bench.health import with_health
from tests.bench.pairs import Side, timed_pairs
from tests.bench.result import Options, Samples

MICROSECONDS = 1e6


def against_sdk(options: Options) -> dict[str, Samples]:
    """Measure a step that has an SDK span, and a bare SDK span."""
    joined = batching_tracer_provider()
    trace.set_tracer_provider(joined)
    return {"step": _measure(options, joined, batching_tracer_provider())}


def without_sdk(options: Options) -> dict[str, Samples]:
    """Measure a step of a program that has no SDK, and a bare SDK span."""
    return {"step_plain": _measure(options, None, batching_tracer_provider())}


def against_logfire(options: Options) -> dict[str, Samples]:
    """Measure a step that has an SDK span, and a span of logfire."""
    joined = batching_tracer_provider()
    trace.set_tracer_provider(joined)
    # Local: else its provider would become the global one, which is ours to join.
    peer = logfire.configure(
        local=True, send_to_logfire=False, console=False, metrics=False,
        additional_span_processors=[SpanProcessor()],
    )  # fmt: skip
    count, pairs = options.pick(400, 200), options.pick(31, 9)

    def spans() -> None:
        with peer.span("bench"):
            for _ in range(count):
                with peer.span("part"):
                    pass

    with pipespan_root() as root:
        ours = partial(_steps, root, count, joined)
        return {
            "step_logfire": with_health(
                timed_pairs(Side(ours), Side(spans), units=count, pairs=pairs, scale=MICROSECONDS)
            )
        }


def pipespan_root() -> Scope:
    """Return the scope of a pipeline whose rows stay in the spool."""
    pipespan.configure(store="none")
    return pipespan.pipeline("bench")


def _measure(options: Options, joined: TracerProvider | None, peer: TracerProvider) -> Samples:
    count, pairs = options.pick(400, 200), options.pick(31, 9)
    tracer = peer.get_tracer("bench")

    def spans() -> None:
        with tracer.start_as_current_span("bench"):
            for _ in range(count):
                with tracer.start_as_current_span("part"):
                    pass
        peer.force_flush()

    with pipespan_root() as root:
        ours = partial(_steps, root, count, joined)
        return with_health(timed_pairs(Side(ours), Side(spans), units=count, pairs=pairs, scale=MICROSECONDS))


def _steps(root: Node, count: int, joined: TracerProvider | None) -> None:
    # Below a phase of their own, as the peer's spans are below one.
    with root.phase("bench"):
        for _ in range(count):
            with pipespan.step("part"):
                pass
    if joined is not None:
        joined.force_flush()
