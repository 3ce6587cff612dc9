"""One process of the OTLP receiver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipespan.model.redact_rows import RowGate
from pipespan.otlp.decode import Decoder
from pipespan.otlp.fastlane import FastLane
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.auth import Gate
from pipespan.receiver.committer import Committer
from pipespan.receiver.intake import Intake
from pipespan.receiver.serving import serve
from pipespan.wiring.receiving import serve_token
from pipespan.wiring.redaction import build_redactor
from pipespan.wiring.stores import open_request_sink

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.receiver.options import ServeOptions
    from pipespan.store.base import RequestSink

SINKS: Final = 2
"""Transactions of one process at the same time: while the database works on one, the next is sent."""

WAIT_S: Final = 5.0
"""A request waits no longer for the database; senders have 10 s in all."""


def receive_here(
    settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
) -> None:
    """Serve in this process until it is told to stop.

    Raises:
        StoreError: the database cannot be used.
        OSError: an address cannot be used.
    """
    # Opened at once and not at the first request: a schema that is missing or a password that is wrong is said now.
    spare = [open_request_sink(settings)]
    redactor = build_redactor(settings)
    rule = NodeRule.parse([text for text in settings.otlp_nodes.split(",") if text.strip()])

    def connect() -> RequestSink:
        try:
            return spare.pop()
        except IndexError:
            return open_request_sink(settings)

    def make_intake() -> Intake:
        decoder = Decoder(rule, FastLane(rule, redactor))
        return Intake(decoder, Committer(connect, sinks=SINKS), RowGate(redactor).row, wait_s=WAIT_S)

    gate = Gate(serve_token(settings) if options.needs_token else None)
    serve(make_intake, gate, options, on_ready=on_ready)
