"""The bridge from `logging`: each record becomes a row, and a Logs API record where an SDK is joined."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from pipespan.model import semconv
from pipespan.otel.convert import is_simple, log_row_from_stdlib, message_of, qualified_function
from pipespan.otel.interrupted import came_in_between
from pipespan.otel.place import Place
from pipespan.record.context import NODE_KEY, SPAN_KEY
from pipespan.record.forks import FORKS
from pipespan.store.logline import ids_text, owner_text

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import SpanContext

    from pipespan.model.redact_rows import RowGate
    from pipespan.otel.bridged import BridgeLogger
    from pipespan.otel.place import PlaceKey
    from pipespan.otel.ports import FindNode, LogWriter, NodeIdentity, OpenNode

EMITTING: Final[ContextVar[bool]] = ContextVar("pipespan_emitting", default=False)
"""True while a record is being taken in: what is logged meanwhile, by whatever it calls, is not taken."""

SUPPRESS_KEY: Final[str] = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
"""Context key by which the SDK's exporter threads ask not to be observed."""

TRANSPORT_LOGGERS: Final = ("opentelemetry", "grpc", "urllib3", "requests", "httpx", "httpcore", "psycopg")
"""Loggers of what carries telemetry away; in our own threads they speak of our own traffic."""

MAX_TARGETS: Final = 1_000
"""Most logger names remembered; a program that makes names up forgets them all now and then."""

MAX_PLACES: Final = 1_000
"""Most lines of code remembered that log by one logger; a program that makes code up forgets them now and then."""

MAX_OWNERS: Final = 1_000
"""Most nodes remembered."""

_FRAMES_ABOVE_CALLER: Final = 3
_NO_IDS: Final = ids_text(0, 0)


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Stands for the node where no pipeline runs; its row is written nowhere."""

    experiment_id: str = ""
    job_id: str = ""
    node_id: str = ""


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a record was made, and what of its row that tells: most come from where the one before came from.

    Attributes:
        node: whose it is, None where no pipeline runs.
        current: what stands for the span in its context.
        span: that one's ids.
        ids: the same as text (`ids_text`).
        owner: stands for `node` (`owner_text`); empty where its name is not to be shown.
    """

    node: OpenNode | None
    current: object
    span: SpanContext
    ids: str
    owner: str


_NOWHERE: Final = _Where(None, None, INVALID_SPAN_CONTEXT, _NO_IDS, "")


@dataclass(frozen=True, slots=True)
class _Target:
    """What becomes of the records of one logger name."""

    is_internal: bool
    is_transport: bool
    logger: BridgeLogger | None
    places: dict[PlaceKey, Place] = field(default_factory=dict)


class RowLogHandler(logging.Handler):
    """Writes a row for each record of a running pipeline, and passes all on to the Logs API.

    The row is made here and not behind the SDK, so that it has no attribute limits, does not depend on what
    is sampled, disabled or broken there, and costs no second conversion. It takes no lock and never raises.
    """

    def __init__(
        self, find_node: FindNode, sink: LogWriter, logger_provider: LoggerProvider | None = None,
        gate: RowGate | None = None,
    ) -> None:  # fmt: skip
        """Build a handler.

        Args:
            find_node: tells whose record it is, from the context in which it was made.
            sink: where rows go.
            logger_provider: a provider of the SDK that is joined; None when there is none.
            gate: hides secrets in what goes to the provider, and tells where there are none; the sink has one of
                its own.
        """
        super().__init__()
        self._find_node = find_node
        self._sink = sink
        self._logger_provider = logger_provider
        self._gate = gate
        self._look: Callable[[str], object | None] = (lambda _: None) if gate is None else gate.redactor.look
        self._targets: dict[str, _Target] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._nobody = _Nobody()
        # One object, since another thread may put its own here at any time.
        self._last = _NOWHERE
        FORKS.add(after_in_child=self._after_fork_in_child)
        self._own_code = type(self).handle.__code__
        self.failure_count = 0

    def createLock(self) -> None:  # noqa: N802 - the base class's name
        """Create none: nothing here is shared but dicts, and a lock is what logging inside logging hangs on."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Take `record` in, if it is not of our own making, and no filter refuses it; never raises."""
        try:
            target = self._targets.get(record.name) or self._new_target(record.name)
            if (
                target.is_internal
                or (target.is_transport and _is_own_thread(record))
                or (EMITTING.get() and not came_in_between(self._own_code))
                or (self.filters and not self.filter(record))
            ):
                return True
            context = get_current()
            if not context.get(SUPPRESS_KEY):
                token = EMITTING.set(True)
                try:
                    self._take(record, context, target)
                finally:
                    EMITTING.reset(token)
        except Exception:  # noqa: BLE001 - the line that logs is the user's
            self.failure_count += 1
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Take `record` in, as `handle` does."""
        self.handle(record)

    def flush(self) -> None:
        """Do nothing: a row is safe when `handle` returns, and providers flush themselves."""

    def close(self) -> None:
        """Do nothing: `dictConfig` closes every handler there is, also those that stay."""

    def _take(self, record: logging.LogRecord, context: Context, target: _Target) -> None:
        node: Any = context.get(NODE_KEY)
        if node is None or node.is_ended:
            node = self._find_node(context)
        if node is None and target.logger is None:
            return
        current: Any = context.get(SPAN_KEY)
        where = self._last
        if where.node is not node or where.current is not current:
            where = self._find_where(node, current)
        key = (record.lineno, record.levelno, record.pathname, record.funcName)
        place = target.places.get(key) or self._new_place(key, record, target)
        message = message_of(record)
        line, owner, span = place.line, where.owner, where.span
        if (
            node is None or line is None or not owner
            or not is_simple(record) or self._look(message) is not None
        ):  # fmt: skip
            self._take_row(record, context, target.logger, node, span, place, message)
            return
        timestamp = int(record.created * 1e9)
        self._sink.write_log(
            node.experiment_id, place.level, message, line.encode(owner, timestamp, message, where.ids)
        )
        if target.logger is not None:
            target.logger.emit_plain(record, place, owner, node, timestamp, message, context, span)

    def _find_where(self, node: OpenNode | None, current: Any) -> _Where:
        try:
            span = current.get_span_context()
        except AttributeError:  # there is none, or somebody put something else there
            span = INVALID_SPAN_CONTEXT
        owner = ""
        if node is not None:
            owner = self._owners.get((node.job_id, node.node_id)) or self._new_owner(node)
        where = _Where(node, current, span, ids_text(span[0], span[1]) if span[5] else _NO_IDS, owner)
        # For a node of another process speaks whichever job of this one runs at the time.
        if node is None or not node.is_foreign:
            self._last = where
        return where

    def _after_fork_in_child(self) -> None:
        self._last = _NOWHERE  # its node is another process's by now

    def _take_row(
        self, record: logging.LogRecord, context: Context, logger: BridgeLogger | None, node: NodeIdentity | None,
        span: SpanContext, place: Place, message: str,
    ) -> None:  # fmt: skip
        """Take in a record of which each column has to be looked at."""
        row = log_row_from_stdlib(record, self._nobody if node is None else node, span, place.code, message)
        if logger is None:
            self._sink.write(row)
            return
        if self._gate is not None:
            row = self._gate.early(row)
        if node is not None:
            self._sink.write(row)
        logger.emit(record, row, node, context, span)

    def _new_place(self, key: PlaceKey, record: logging.LogRecord, target: _Target) -> Place:
        if len(target.places) >= MAX_PLACES:
            target.places.clear()
        place = target.places[key] = Place(
            record, qualified_function(record, _FRAMES_ABOVE_CALLER), self._gate
        )
        return place

    def _new_owner(self, node: NodeIdentity) -> str:
        """Return the columns of `node`, nothing where its name is not to be shown."""
        if self._gate is not None and not self._gate.is_harmless(node.node_id):
            return ""
        if len(self._owners) >= MAX_OWNERS:
            self._owners.clear()
        owner = owner_text(node.experiment_id, node.job_id, node.node_id)
        self._owners[node.job_id, node.node_id] = owner
        return owner

    def _new_target(self, name: str) -> _Target:
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        target = _Target(
            is_internal=_is_below(name, semconv.INTERNAL_LOGGER),
            is_transport=any(_is_below(name, transport) for transport in TRANSPORT_LOGGERS),
            logger=self._bridge_logger(name),
        )
        self._targets[name] = target
        return target

    def _bridge_logger(self, name: str) -> BridgeLogger | None:
        if self._logger_provider is None:
            return None
        from pipespan.otel.bridged import bridge_logger  # noqa: PLC0415 - no SDK, no import of it

        return bridge_logger(self._logger_provider, name)


def _is_below(name: str, ancestor: str) -> bool:
    return name == ancestor or name.startswith(ancestor + ".")


def _is_own_thread(record: logging.LogRecord) -> bool:
    return (record.threadName or "").startswith(semconv.OWN_THREAD_PREFIX)
