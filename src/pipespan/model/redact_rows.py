"""The gate that every row passes: text columns, arrays and JSON with their secrets hidden; ids stay what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pipespan.model.redact import Redactor
from pipespan.model.rows import ROW_TYPES, LogRow, MetricRow, Row, RowType, columns

MAX_HARMLESS: Final = 2048
"""So many texts that come again and again (names, places in the code) are remembered as harmless."""

MAX_HARMLESS_CHARS: Final = 500

_NOTHING_MORE: Final = (None, None, None)
"""Traceback, type of error and performance of most log rows."""

_UNTOUCHED: Final = frozenset({"trace_id", "span_id", "git_commit", "boot_id", "host"})


def _kinds(row_type: RowType) -> dict[str, str]:
    annotations = {name: str(row_type.__annotations__[name]) for name in columns(row_type)}
    texts = {
        name: text.removeprefix("ForwardRef('").removesuffix("')").removesuffix(" | None")
        for name, text in annotations.items()
    }
    return {
        name: kind
        for name, kind in texts.items()
        if kind in {"str", "Json", "TextArray"} and name not in _UNTOUCHED
    }


_KINDS: Final[Mapping[type, Mapping[str, str]]] = {row_type: _kinds(row_type) for row_type in ROW_TYPES}


class RowGate:
    """Hides secrets in rows."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._look = redactor.look
        self._harmless: set[str | None] = {None}
        self._passed: Row | None = None
        self.hidden_count = 0

    def early(self, row: LogRow) -> LogRow:
        """Return `row` without secrets, for somebody who needs it before it comes to `row`, which knows it then."""
        self._passed = shown = row if self._is_usual(row) else cast("LogRow", self._look_closely(row))
        return shown

    def row(self, row: Row) -> Row:
        """Return `row` without secrets; the same one when there are none, as nearly always."""
        if row is self._passed or (type(row) is LogRow and self._is_usual(row)):
            return row
        return self._look_closely(row)

    def _is_usual(self, row: LogRow) -> bool:
        """Tell whether `row` is what most are: a harmless message, from a place in the code that was seen before.

        This is paid for each log record.
        """
        harmless, context = self._harmless, row[8]
        return (
            row[9:12] == _NOTHING_MORE
            and row[2] in harmless
            and row[6] in harmless
            and type(context) is not dict
            and getattr(context, "copy_text", None) in harmless
            and self._look(row[7]) is None
        )

    def _look_closely(self, row: Row) -> Row:
        is_plain = (type(row) is LogRow and self._is_plain_log(row)) or (
            type(row) is MetricRow and self._is_plain_metric(row)
        )
        return row if is_plain else self._by_columns(row)

    def _is_plain_log(self, row: LogRow) -> bool:
        if row.traceback is not None or row.performance is not None or self._look(row.message) is not None:
            return False
        if not all(self.is_harmless(name) for name in (row.logger_name, row.node_id, row.error_type)):
            return False
        # A place in the code: one object for all records made there.
        prepared = getattr(row.context, "copy_text", None)
        if prepared is not None:
            return self.is_harmless(prepared)
        return row.context is None or self._is_plain_context(row.context)

    def _is_plain_context(self, context: Mapping[str, Any]) -> bool:
        harmless = self._harmless
        for key, value in context.items():
            if key not in harmless and not self._note_name(key):
                return False
            kind = type(value)
            if kind is str:
                if value not in harmless and self._look(value) is not None:
                    return False
                if "." in key and key not in _VARIED:
                    self.is_harmless(value)
            elif kind is not int and kind is not float and kind is not bool and value is not None:
                return False
        return True

    def _is_plain_metric(self, row: MetricRow) -> bool:
        return row.custom_metrics is None or (
            self.is_harmless(row.node_id) and self._is_plain_context(row.custom_metrics)
        )

    def _note_name(self, name: str) -> bool:
        return self.redactor.certainty(name) == "none" and self.is_harmless(name)

    def is_harmless(self, text: str | None) -> bool:
        """Tell whether `text` is harmless, and remember it if so."""
        if text in self._harmless or text is None:
            return True
        if self._look(text) is not None:
            return False
        if len(text) <= MAX_HARMLESS_CHARS:
            if len(self._harmless) >= MAX_HARMLESS:
                self._harmless = {None}
            self._harmless.add(text)
        return True

    def _by_columns(self, row: Row) -> Row:
        changed: dict[str, Any] = {}
        for name, kind in _KINDS[type(row)].items():
            value = getattr(row, name)
            if value is None or (kind == "Json" and not value):
                continue
            shown = self._shown(name, kind, value)
            if shown is not value:
                changed[name] = shown
        if not changed:
            return row
        self.hidden_count += 1
        return row._replace(**changed)

    def _shown(self, name: str, kind: str, value: Any) -> Any:
        if kind == "str":
            return self.redactor.text(str(value), is_command=name == "command")
        if kind == "Json":
            return self.redactor.json(value)
        items = tuple(self.redactor.text(str(item)) for item in value)
        return value if items == tuple(value) else items


_VARIED: Final = frozenset({"exception.message", "exception.stacktrace", "log.stack_info"})
