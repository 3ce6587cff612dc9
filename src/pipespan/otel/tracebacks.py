"""Tracebacks as text, with what the interpreter computes again for each frame remembered.

From Python 3.11 on most of the cost of a traceback is the line of carets below each frame, for which the source is
parsed each time. A program that fails fails at the same few places over and over.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, Final

MAX_FRAMES: Final = 4_096
"""Most frames remembered, about 200 bytes each; then all are forgotten."""


class TracebackFormatter:
    """Formats as `traceback.format_exception` does, to the character."""

    def __init__(self) -> None:
        self._texts: dict[tuple[Any, ...], str] = {}

    def format(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
        """Return the whole traceback with causes, contexts and groups.

        Raises:
            Exception: whatever the exception raises while it is printed.
        """
        whole = traceback.TracebackException(kind, error, trace, compact=True)
        self._remember_frames(whole, set())
        return "".join(whole.format())

    def _remember_frames(self, part: traceback.TracebackException, seen: set[int]) -> None:
        if id(part) in seen:
            return
        seen.add(id(part))
        # An exception of a group that has no traceback of its own has no stack in some versions.
        if isinstance(part.stack, traceback.StackSummary):
            part.stack = _Remembering(part.stack, self._texts)
        parts = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        for one in parts:
            if one is not None:
                self._remember_frames(one, seen)


class _Remembering(traceback.StackSummary):
    """Frames whose text is kept; before Python 3.11 the method is not asked, and the text is cheap."""

    def __init__(self, frames: traceback.StackSummary, texts: dict[tuple[Any, ...], str]) -> None:
        super().__init__(frames)
        self._texts = texts

    def format_frame_summary(self, frame_summary: traceback.FrameSummary, **options: Any) -> str:
        """Return the text of one frame."""
        key = (
            frame_summary.filename,
            frame_summary.lineno,
            frame_summary.name,
            frame_summary.line,
            getattr(frame_summary, "end_lineno", None),
            getattr(frame_summary, "colno", None),
            getattr(frame_summary, "end_colno", None),
            *options.items(),
        )
        text = self._texts.get(key)
        if text is None:
            base: Any = super()  # the types checked against are those of Python 3.10
            text = str(base.format_frame_summary(frame_summary, **options))
            if len(self._texts) >= MAX_FRAMES:
                self._texts.clear()
            self._texts[key] = text
        return text
