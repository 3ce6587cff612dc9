"""Log records as rows: pure, and the same row whether a record comes from `logging` or from the Logs API."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipespan.model import semconv
from pipespan.model.attributes import MAX_TEXT_CHARS, plain_text
from pipespan.model.clean import clean_value
from pipespan.model.otelrows import STAMPS, LogParts, log_row_of_parts, performance_of, text_of
from pipespan.model.rows import LogRow
from pipespan.model.status import LogLevel, level_of_severity
from pipespan.otel.tracebacks import TracebackFormatter
from pipespan.store.logline import hex_ids

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord
    from opentelemetry.trace import SpanContext

    from pipespan.otel.ports import NodeIdentity

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED_COUNT: Final = len(vars(logging.makeLogRecord({})))

_MAIN_THREAD: Final = "MainThread"

_TRACEBACKS: Final = TracebackFormatter()


def severity_of_level(levelno: int) -> int:
    """Return the OTel severity number of a `logging` level: 1 (TRACE) below DEBUG, 0 for NOTSET."""
    if levelno < logging.DEBUG:
        return 1 if levelno > 0 else 0
    step = min(levelno, 59) // 10
    return step * 4 + 1 + min(levelno - step * 10, 3)


_KNOWN_LEVELS: Final[dict[int, tuple[LogLevel, int]]] = {
    levelno: (level_of_severity(severity_of_level(levelno)), severity_of_level(levelno))
    for levelno in range(60)
}


def level_of(levelno: int) -> tuple[LogLevel, int]:
    """Return the level and the severity number of a `logging` level, whatever number that is."""
    return _KNOWN_LEVELS[levelno if 0 <= levelno < 60 else (59 if levelno > 0 else 0)]


def message_of(record: logging.LogRecord) -> str:
    """Return the formatted message; one whose arguments do not fit is shown unformatted."""
    try:
        message = record.getMessage()
        # Most are as they should be, which is told here without a call.
        is_plain = message.isprintable() and len(message) <= MAX_TEXT_CHARS
        return message if is_plain else plain_text(message)
    except Exception:  # noqa: BLE001 - arguments are the user's objects; logging itself reports such a bug
        return plain_text(str(clean_value([str(record.msg), record.args])))


def exception_of(record: logging.LogRecord) -> ExcInfo | None:
    """Return the exception that `record` carries, if it really carries one."""
    info: Any = record.exc_info  # whatever a record that came over a socket was made with
    if isinstance(info, tuple) and len(info) == 3 and isinstance(info[1], BaseException):
        return type(info[1]), info[1], info[2]
    return None


def type_name(exception_type: type[BaseException]) -> str:
    """Return the qualified name of an exception type, bare for builtins."""
    module = exception_type.__module__
    name = exception_type.__qualname__
    return name if not module or module == "builtins" else f"{module}.{name}"


def traceback_text(info: ExcInfo) -> str:
    """Return the whole traceback with causes and groups; never raises."""
    try:
        return _TRACEBACKS.format(*info)
    except Exception as failure:  # noqa: BLE001 - a user's exception may break while it is printed
        return f"{type_name(info[0])}: traceback cannot be formatted: {type_name(type(failure))}\n"


def log_row_from_stdlib(
    record: logging.LogRecord,
    node: NodeIdentity,
    span: SpanContext | None = None,
    code: Mapping[str, Any] | None = None,
    message: str | None = None,
) -> LogRow:
    """Return the row of a record of `logging`.

    Args:
        record: left as it is.
        node: the node it belongs to.
        span: the current span where it was made.
        code: where it was made (`code_of`), when that is known already.
        message: what it says (`message_of`), when that is known already.
    """
    level, severity = level_of(record.levelno)
    context: Mapping[str, Any] = code_of(record, None) if code is None else code
    traceback = error_type = performance = None
    if not is_simple(record):
        context, performance = _context_of(record, context)
        info = exception_of(record) if record.exc_info else None
        traceback = traceback_text(info) if info is not None else record.exc_text
        error_type = type_name(info[0]) if info is not None else text_of(vars(record).get(semconv.ERROR_TYPE))
    trace_id, span_id = (None, None) if span is None or not span[5] else hex_ids(span[0], span[1])
    # The tuple itself: the constructor of a named one is a function of Python's.
    return tuple.__new__(
        LogRow,
        (
            node.experiment_id, node.job_id, node.node_id, int(record.created * 1e9), level, severity,
            record.name, message_of(record) if message is None else message, context, traceback,
            error_type, performance, trace_id, span_id,
        ),
    )  # fmt: skip


def is_simple(record: logging.LogRecord) -> bool:
    """Tell whether there is no more to it than a message: no exception, no extra, no thread of its own."""
    values = vars(record)
    return not (
        len(values) > _RESERVED_COUNT
        or values["threadName"] != _MAIN_THREAD
        or values["exc_info"]
        or values["exc_text"]
        or values["stack_info"]
    )


def code_of(record: logging.LogRecord, function: str | None) -> dict[str, Any]:
    """Return where `record` was made, as attributes; `function` is the qualified name, when known."""
    return {
        semconv.CODE_FILE_PATH: plain_text(record.pathname),
        semconv.CODE_LINE_NUMBER: record.lineno,
        semconv.CODE_FUNCTION_NAME: function or record.funcName,
    }


def _context_of(
    record: logging.LogRecord, code: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    values = vars(record)
    is_main_thread = record.threadName == _MAIN_THREAD
    has_extra = len(values) > _RESERVED_COUNT
    if is_main_thread and not has_extra and not record.stack_info:
        return code, None
    context = dict(code)
    if not is_main_thread:
        context[semconv.THREAD_NAME] = record.threadName
        context[semconv.THREAD_ID] = record.thread
    if record.stack_info:
        context[semconv.LOG_STACK_INFO] = plain_text(record.stack_info)
    if not has_extra:
        return context, None
    performance = None
    for key, value in values.items():
        if key in _RESERVED:
            continue
        if key == semconv.PERFORMANCE:
            performance = performance_of(clean_value(value))
        elif key not in STAMPS:
            context[plain_text(str(key)) or "(empty)"] = clean_value(value)
    return context, performance


def log_row_from_otel(record: LogRecord, scope_name: str, node: NodeIdentity) -> LogRow:
    """Return the row of a record of the Logs API, as an SDK processor or exporter sees it."""
    trace_id, span_id = hex_ids(record.trace_id or 0, record.span_id or 0)
    return log_row_of_parts(
        node,
        LogParts(
            scope_name=scope_name,
            timestamp=record.timestamp or record.observed_timestamp or 0,
            severity_number=record.severity_number.value if record.severity_number is not None else 0,
            body=record.body,
            attributes=record.attributes or {},
            event_name=record.event_name,
            trace_id=trace_id,
            span_id=span_id,
        ),
    )


def qualified_function(record: logging.LogRecord, depth: int) -> str | None:
    """Return the qualified name of the function that called `logging`, or None when it is not on this stack.

    Args:
        record: what it logged.
        depth: how many frames above the caller the search begins.
    """
    try:
        frame = sys._getframe(depth + 1)  # noqa: SLF001 - what logging.currentframe itself uses
    except ValueError:
        return None
    for _ in range(_MAX_FRAMES):
        code = frame.f_code
        if (
            code.co_name == record.funcName
            and frame.f_lineno == record.lineno
            and code.co_filename == record.pathname
        ):
            # Python 3.10 knows no qualified names of code.
            return f"{frame.f_globals.get('__name__', '?')}.{getattr(code, 'co_qualname', code.co_name)}"
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


_MAX_FRAMES: Final = 12
"""How far up the caller is sought; wrappers of logging rarely add more than two frames."""
