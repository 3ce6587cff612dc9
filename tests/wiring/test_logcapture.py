"""Whoever bridges `logging` to OpenTelemetry, and whenever he begins: records become rows once."""

from __future__ import annotations

from tests.wiring.programs import Programs


def test_a_record_becomes_one_row_whoever_bridges(programs: Programs) -> None:
    """What is found at one scope is not looked for again, unless somebody changed it before the next one."""
    programs.run(
        """
        from opentelemetry._logs import set_logger_provider
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
        from opentelemetry.sdk._logs import LoggerProvider

        logging.root.setLevel(logging.INFO)

        def log(message):
            for name in ("first", "second"):
                with pipespan.step(name):
                    logging.info("%s, %s", message, name)

        with pipespan.pipeline("run"):
            log("alone")
            logging.root.addHandler(logging.StreamHandler())
            log("beside a handler")
            bridge = LoggingHandler()
            logging.root.addHandler(bridge)
            log("beside a bridge to nowhere")
            set_logger_provider(LoggerProvider(shutdown_on_exit=False))
            log("beside a bridge to a provider")
            logging.root.removeHandler(bridge)
            log("alone again")
            logging.root.parent = None
            log("after somebody took us away")
        """
    )
    said = (
        "alone", "beside a handler", "beside a bridge to nowhere", "beside a bridge to a provider",
        "alone again", "after somebody took us away",
    )  # fmt: skip
    expected = [f"{what}, {name}" for what in said for name in ("first", "second")]
    assert programs.delivered().messages() == expected
