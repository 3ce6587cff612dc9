"""Rows from records that reach the SDK's LoggerProvider without our handler: the Logs API, another bridge."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from pipespan.model import semconv
from pipespan.otel.bridged import BridgedRecord
from pipespan.otel.convert import log_row_from_otel
from pipespan.otel.handler import EMITTING, SUPPRESS_KEY
from pipespan.otel.ports import FindNode, RowWriter

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord

_SEEN: Final = "pipespan_seen"


def mark_seen(record: LogRecord) -> None:
    """Note on a record of the API that it has its row.

    A batch processor that stands before us has made a shallow copy by now, which shares the attributes; one behind us
    will make one of the record. So both are marked.
    """
    setattr(record, _SEEN, True)
    with suppress(AttributeError):  # a plain mapping takes no mark; the SDK's own does
        setattr(record.attributes, _SEEN, True)


def is_seen(record: LogRecord) -> bool:
    """Tell whether a record, or that which it was copied from, has its row."""
    return getattr(record, _SEEN, False) or getattr(record.attributes, _SEEN, False)


class RowLogRecordProcessor(LogRecordProcessor):
    """Writes a row for each record that is emitted while a pipeline runs; synchronous, never raises.

    It may stand before or behind batch processors: they leave the record that we see untouched, and see our mark.
    """

    def __init__(self, find_node: FindNode, sink: RowWriter) -> None:
        self._find_node = find_node
        self._sink = sink
        self.failure_count = 0

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Write the row of `log_record`, unless our handler has done it."""
        if isinstance(log_record.log_record, BridgedRecord) or EMITTING.get():
            return
        token = EMITTING.set(True)
        try:
            self._take(log_record)
        except Exception:  # noqa: BLE001 - an exception here comes out of the user's own logging call
            self.failure_count += 1
        finally:
            EMITTING.reset(token)

    def _take(self, log_record: ReadWriteLogRecord) -> None:
        record = log_record.log_record
        scope = log_record.instrumentation_scope
        name = scope.name if scope is not None else ""
        context: Context = record.context or get_current()
        if get_current().get(SUPPRESS_KEY) or name.startswith(semconv.INTERNAL_LOGGER):
            return
        node = self._find_node(context)
        if node is None:
            return
        self._sink.write(log_row_from_otel(record, name, node))
        mark_seen(record)

    def shutdown(self) -> None:
        """Do nothing: the sink belongs to somebody else."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Do nothing: a row is safe when it is written."""
        return True
