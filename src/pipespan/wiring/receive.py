"""One process of the OTLP receiver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipespan.model.redact_rows import RowGate
from pipespan.otlp.decode import Decoder
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.auth import Gate
from pipespan.receiver.intake import Intake
from pipespan.receiver.serving import serve
from pipespan.wiring.receiving import serve_token
from pipespan.wiring.redaction import build_redactor
from pipespan.wiring.stores import open_sink

if TYPE_CHECKING:
    from pipespan.config import Settings
    from pipespan.receiver.options import ServeOptions

SINKS: Final = 4
"""Requests written at the same time by one process: while the database works on some, others are decoded."""

THREADS: Final = 16
"""Threads of each transport; most of them wait for the database."""

WAIT_S: Final = 5.0
"""A request waits no longer for a connection; senders have 10 s in all."""


def receive_here(
    settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
) -> None:
    """Serve in this process until it is told to stop.

    Raises:
        StoreError: the database cannot be used.
        OSError: an address cannot be used.
    """
    # Opened at once and not at the first request: a schema that is missing or a password that is wrong is said now.
    spare = [open_sink(settings)]
    intake = Intake(
        Decoder(NodeRule.parse([text for text in settings.otlp_nodes.split(",") if text.strip()])),
        lambda: spare.pop() if spare else open_sink(settings),
        RowGate(build_redactor(settings)).row,
        sinks=SINKS,
        wait_s=WAIT_S,
    )
    gate = Gate(serve_token(settings) if options.needs_token else None)
    serve(intake, gate, options, threads=THREADS, on_ready=on_ready)
