"""Passes records that have their row already on to the SDK's LoggerProvider, the cheap way.

The SDK copies and checks every attribute of every record, which costs more than all the rest of a record.
Ours are clean before they come here, so they go in as a record that is complete, which `Logger.emit` takes as
it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import islice
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import Logger, LoggerProvider, LogRecord, NoOpLogger, SeverityNumber
from opentelemetry.sdk._logs import Logger as SdkLogger
from opentelemetry.sdk._logs import LogRecordLimits, ReadWriteLogRecord

from pipespan.model import semconv
from pipespan.model.ids import stage_of
from pipespan.model.redact_values import MARKER
from pipespan.otel.convert import exception_of, log_row_from_stdlib

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext

    from pipespan.model.rows import LogRow
    from pipespan.otel.place import Place
    from pipespan.otel.ports import NodeIdentity

MAX_KNOWN: Final = 1_000
"""Most sets of attributes that a logger name keeps ready."""

_SEVERITY_TEXTS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_SEVERITIES: Final = {number.value: number for number in SeverityNumber}


class BridgedRecord(LogRecord):
    """A record of the Logs API that has its row; the row processor and the row exporter pass it over."""

    # The base class sets these two on each record; of ours none has them.
    event_name: str | None = None
    exception = None

    def __init__(
        self,
        record: logging.LogRecord,
        timestamp: int,
        severity_number: int,
        message: str,
        context: Context,
        span: SpanContext,
        attributes: dict[str, Any],
    ) -> None:
        self.timestamp = timestamp
        self.observed_timestamp = time_ns()
        self.context = context
        self.trace_id, self.span_id, _, self.trace_flags, _, _ = span
        self.severity_text = _SEVERITY_TEXTS.get(record.levelname, record.levelname)
        self.severity_number = _SEVERITIES[severity_number]
        self.body = message
        self.attributes = attributes

    def __copy__(self) -> BridgedRecord:
        # Batch processors copy each record, and `copy.copy` is slow for classes that do not say how.
        twin = BridgedRecord.__new__(BridgedRecord)
        vars(twin).update(vars(self))
        return twin


class _Complete(ReadWriteLogRecord):
    """What the SDK makes of a record, made without checking the attributes again."""

    def __init__(
        self,
        record: BridgedRecord,
        resource: Resource,
        scope: InstrumentationScope | None,
        limits: LogRecordLimits,
    ) -> None:
        self.log_record = record
        self.resource = resource
        self.instrumentation_scope = scope
        self.limits = limits


@dataclass(frozen=True, slots=True)
class BridgeLogger:
    """Emits the records of one logger name."""

    logger: Logger
    limits: LogRecordLimits
    scope: InstrumentationScope | None
    takes_complete: bool
    _known: dict[tuple[str, int | None, Place], dict[str, Any]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def emit(
        self,
        record: logging.LogRecord,
        row: LogRow,
        node: NodeIdentity | None,
        context: Context,
        span: SpanContext,
    ) -> None:
        """Emit `record`, whose row is `row`."""
        attributes = self._limited(attributes_of(record, row, node))
        self.emit_complete(
            BridgedRecord(record, row.timestamp, row.severity_number, row.message, context, span, attributes)
        )

    def emit_plain(
        self, record: logging.LogRecord, place: Place, owner: str, node: NodeIdentity, timestamp: int, message: str,
        context: Context, span: SpanContext,
    ) -> None:  # fmt: skip
        """Emit `record`, which says no more than `message`.

        Args:
            record: what was logged.
            place: the line of code that did.
            owner: stands for `node` (`owner_text`).
            node: whose it is.
            timestamp: the row's.
            message: likewise.
            context: in which it was logged.
            span: the current one there.
        """
        known = self._known.get((owner, record.process, place))
        if known is None:
            known = self._know(record, place, owner, node)
        self.emit_complete(
            BridgedRecord(record, timestamp, place.severity_number, message, context, span, known.copy())
        )

    def emit_complete(self, bridged: BridgedRecord) -> None:
        """Emit a record whose attributes are clean."""
        logger = self.logger
        if self.takes_complete:
            # The resource is asked for each time: that of a forked child is another one.
            complete = _Complete(bridged, logger.resource, self.scope, self.limits)  # type: ignore[attr-defined]
            logger.emit(complete)  # type: ignore[call-overload] # documented
        else:
            logger.emit(bridged)

    def _know(
        self, record: logging.LogRecord, place: Place, owner: str, node: NodeIdentity
    ) -> dict[str, Any]:
        """Return what is the same for all that one line of code says of one node."""
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        row = log_row_from_stdlib(record, node, None, place.code)
        known = self._known[owner, record.process, place] = self._limited(attributes_of(record, row, node))
        return known

    def _limited(self, attributes: dict[str, Any]) -> dict[str, Any]:
        most = self.limits.max_log_record_attributes
        if most is not None and len(attributes) > most:
            # The SDK would drop the first ones, which say whose record it is, and warn.
            return dict(islice(attributes.items(), most))
        return attributes


def bridge_logger(provider: LoggerProvider, name: str) -> BridgeLogger | None:
    """Return what emits the records of logger `name`, or None when nobody would see them."""
    logger = provider.get_logger(name)
    if isinstance(logger, NoOpLogger):
        return None
    limits = getattr(logger, "_log_record_limits", None)
    if not isinstance(limits, LogRecordLimits):
        limits = LogRecordLimits()
    # With a limit on lengths every value has to be looked at, which is the SDK's business.
    is_unchecked = limits.max_log_record_attribute_length is None
    if not (is_unchecked and isinstance(logger, SdkLogger)):
        return BridgeLogger(logger, limits, None, takes_complete=False)
    return BridgeLogger(logger, limits, logger.instrumentation_scope, takes_complete=True)


def attributes_of(record: logging.LogRecord, row: LogRow, node: NodeIdentity | None) -> dict[str, Any]:
    """Return the attributes of `record` over OTLP, the ones that identify it first."""
    attributes: dict[str, Any] = {}
    if node is not None:
        attributes[semconv.EXPERIMENT_ID] = row.experiment_id
        attributes[semconv.JOB_ID] = row.job_id
        attributes[semconv.NODE_ID] = row.node_id
        stage = stage_of(row.node_id)
        if stage is not None:
            attributes[semconv.STAGE] = stage
    if row.traceback is not None:
        _add_exception(attributes, record, row)
    attributes[semconv.PROCESS_PID] = record.process
    if row.context:
        attributes.update(row.context)
    if row.performance is not None:
        attributes[semconv.PERFORMANCE] = row.performance
    return attributes


def _add_exception(attributes: dict[str, Any], record: logging.LogRecord, row: LogRow) -> None:
    # The same three that the SDK derives from `exception=`, which would format the traceback a second time:
    # that is the dearest part of a record by far.
    attributes[semconv.EXCEPTION_STACKTRACE] = row.traceback
    info = exception_of(record)
    if info is not None:
        attributes[semconv.EXCEPTION_TYPE] = row.error_type
        attributes[semconv.EXCEPTION_MESSAGE] = _message(info[1], row)


def _message(exception: BaseException, row: LogRow) -> str:
    try:
        text = str(exception)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return ""
    # The row has passed the gate: a traceback that shows the marker may have lost it from the message.
    traceback = row.traceback or ""
    return text if MARKER not in traceback or text in traceback else _last_line(traceback)


def _last_line(traceback: str) -> str:
    return traceback.rstrip().rpartition("\n")[2].partition(": ")[2]
