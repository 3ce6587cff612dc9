"""Puts the handler where all records pass, without the program noticing.

A handler among `root.handlers` harms in three ways: `logging.basicConfig()` does nothing any more when the
root has a handler, `logging.lastResort` falls silent, and `dictConfig` or `basicConfig(force=True)` throw the
handler out. So ours is not there: it sits on a logger of our own that is made the *parent of the root*.
Records that propagate to the root propagate one step further, to us; the list of the root's handlers stays
the program's own, and every way of configuring it works as if we were absent. What is left to do is to stand
in for `lastResort`, because `Logger.callHandlers` counts us among the handlers that it found, and to keep
`Logger.hasHandlers` from seeing us.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from pipespan.model import semconv


class _Unseen(tuple[Any, ...]):
    """Handlers that are called but do not count: `Logger.hasHandlers` asks whether the list is true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


class _Gate(logging.Handler):
    """Hands records to the handler and to `lastResort` where the program has no handler of its own."""

    def __init__(self, handler: logging.Handler, above: logging.Logger) -> None:
        super().__init__()
        self._handler = handler
        self._above = above

    def createLock(self) -> None:  # noqa: N802 - the base class's name
        """Create none, for nothing is shared."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand `record` on."""
        if record.levelno >= self._handler.level:
            self._handler.handle(record)
        # Below WARNING `lastResort` shows nothing, unless a program has changed its level. Of several attachments
        # the one next to the root stands in for it.
        last_resort = logging.lastResort
        if (
            record.levelno >= (logging.NOTSET if last_resort is None else last_resort.level)
            and logging.root.parent is self._above
            and self._is_alone(record)
        ):
            self._last_resort(record)
        return True

    def close(self) -> None:
        """Do nothing: `dictConfig` closes every handler there is, also those that stay."""

    def _is_alone(self, record: logging.LogRecord) -> bool:
        logger: Any = logging.root.manager.loggerDict.get(record.name)
        if not isinstance(logger, logging.Logger):
            logger = logging.root
        while logger is not None and logger is not self._above:
            if logger.handlers:
                return False
            logger = logger.parent
        return True

    def _last_resort(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None:
            logging.lastResort.handle(record)
        elif logging.raiseExceptions and not logging.root.manager.emittedNoHandlerWarning:
            sys.stderr.write(f'No handlers could be found for logger "{record.name}"\n')
            logging.root.manager.emittedNoHandlerWarning = True


class RootAttachment:
    """Attaches one handler to all that reaches the root logger.

    Attributes:
        above: the logger of our own that is the root's parent while it is attached.
    """

    def __init__(self, handler: logging.Handler) -> None:
        self.above = logging.Logger(semconv.SCOPE)  # noqa: LOG001 - no child of the root, but its parent
        # The module's docstring tells why this is no list.
        self.above.handlers = _Unseen((_Gate(handler, self.above),))  # type: ignore[assignment]

    def ensure_attached(self) -> None:
        """Attach if that is not so; cheap enough for each start of a phase."""
        if logging.root.parent is not self.above and not self._is_attached():
            self.above.parent = logging.root.parent
            logging.root.parent = self.above

    def detach(self) -> None:
        """Leave `logging` as it was."""
        below: logging.Logger = logging.root
        while below.parent is not None:
            if below.parent is self.above:
                below.parent = self.above.parent
                self.above.parent = None
                return
            below = below.parent

    def _is_attached(self) -> bool:
        logger: logging.Logger | None = logging.root
        while logger is not None and logger is not self.above:
            logger = logger.parent
        return logger is not None


def bridge_provider(root_logger: logging.Logger) -> Any | None:
    """Return the SDK LoggerProvider that an OpenTelemetry LoggingHandler on `root_logger` feeds, else None."""
    for handler in root_logger.handlers:
        if not is_bridge(handler):
            continue
        provider = getattr(handler, "_logger_provider", None)
        if type(provider).__name__ == "ProxyLoggerProvider":
            from opentelemetry._logs import get_logger_provider  # noqa: PLC0415 - rarely needed

            provider = get_logger_provider()
        if hasattr(provider, "add_log_record_processor"):
            return provider
    return None


def bridge_present(root_logger: logging.Logger) -> bool:
    """Tell whether an OpenTelemetry LoggingHandler bridges `root_logger` to an SDK; ours must then stay away."""
    return bridge_provider(root_logger) is not None


def is_bridge(handler: logging.Handler) -> bool:
    """Tell whether `handler` is one of OpenTelemetry's own."""
    # By name, since neither of the two packages that have such a handler needs to be installed.
    return any(
        kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.")
        for kind in type(handler).__mro__
    )
