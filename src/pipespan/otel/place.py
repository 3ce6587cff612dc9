"""A line of code that logs, and what is the same for all records that come from there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from pipespan.model.status import ERROR_LEVELS, LogLevel
from pipespan.otel.convert import code_of, level_of
from pipespan.store.copytext import PreparedJson
from pipespan.store.logline import LogLine

if TYPE_CHECKING:
    from pipespan.model.redact_rows import RowGate

PlaceKey: TypeAlias = tuple[int, int, str, str]
"""Line, level, file and function of a record, all of one logger."""


class Place:
    """A line of code that logs at one level by one logger.

    Attributes:
        code: where it is, as attributes.
        level: that of its rows.
        severity_number: likewise.
        line: encodes rows of records that say no more than a message; None where rows have to be looked at one by
            one, because of secrets in what they have in common, or because they tell of errors.
    """

    __slots__ = ("code", "level", "line", "severity_number")

    def __init__(self, record: logging.LogRecord, function: str | None, gate: RowGate | None) -> None:
        """Prepare the place where `record` was made.

        Args:
            record: the first one.
            function: the qualified name of the function that made it, when known.
            gate: tells what is secret.
        """
        self.level: LogLevel
        self.level, self.severity_number = level_of(record.levelno)
        self.code = PreparedJson(code_of(record, function))
        self.line: LogLine | None = None
        is_shown = gate is None or (gate.is_harmless(record.name) and gate.is_harmless(self.code.copy_text))
        if is_shown and self.level not in ERROR_LEVELS:
            self.line = LogLine(self.level, self.severity_number, record.name, self.code)
