"""What all adapters share: the headers of where the caller is, and doing a piece of work below them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context

from pipespan.errors import PipespanError
from pipespan.model.status import Status
from pipespan.record.context import enter, leave
from pipespan.record.failures import failure_record, mark_reported
from pipespan.record.handing import announce, cancel, child_of, give_up, log_for, park, settle
from pipespan.record.headers import carrier_in, headers_of, parent_of
from pipespan.record.jobs import Serving
from pipespan.record.node import Node
from pipespan.record.outcome import error_type_of, message_of
from pipespan.record.parent import Parent
from pipespan.record.recorder import Recorder
from pipespan.wiring import process

KEY_CHARS: Final = 12
"""As much of the id of a piece of work stands in its node's id."""

IDLE_LIMIT_S: Final = 60.0
"""A worker that has had no work of an experiment for so long has ended its part in it."""


def key_of(name: str, work_id: str) -> str:
    """Return the key of a piece of work: what its submitter, its worker and its engine all know."""
    return f"{name}@{work_id.replace('-', '')[:KEY_CHARS]}"


def headers_here() -> dict[str, str]:
    """Return the headers that lead to the current node; none outside of any pipeline."""
    recorder = process.recorder()
    parent = None if recorder is None else recorder.parent_now()
    return {} if recorder is None or parent is None else headers_of(parent, recorder.worker)


def hand_over(name: str, key: str, **metadata: Any) -> dict[str, str]:
    """Tell that work is on its way, as a pending step below the current node; return the headers it has to carry."""
    return tell(headers_here(), name, key, **metadata)


def tell(headers: dict[str, str], name: str, key: str, **metadata: Any) -> dict[str, str]:
    """Tell that work is on its way below the node that `headers` lead to; return them."""
    _for_parent(headers, lambda recorder, parent: announce(recorder, parent, name, key, metadata))
    return headers


def settled(
    headers: Mapping[str, str],
    name: str,
    key: str,
    status: Status,
    *,
    error: BaseException | None = None,
    message: str | None = None,
    started_at_unix_ns: int | None = None,
    **metadata: Any,
) -> None:
    """Tell the end of work whose own process cannot do it: it was killed, or never started."""

    def write(recorder: Recorder, parent: Parent) -> None:
        reason = message
        if error is not None:
            reason = message_of(error, recorder.redactor.text) or error_type_of(error)
            text = f"step {name!r} failed: {type(error).__name__}: {reason}"
            log_for(recorder, child_of(recorder, parent, key), logging.ERROR, text, error)
        settle(
            recorder, parent, name, key, status=status, metadata=metadata, message=reason,
            error_type=None if error is None else error_type_of(error), started_at_unix_ns=started_at_unix_ns,
        )  # fmt: skip

    _for_parent(headers, write)


def _for_parent(headers: Mapping[str, str], act: Callable[[Recorder, Parent], Any]) -> None:
    """Do something for the node that `headers` lead to, if they lead to any; never raises."""
    recorder = process.recorder()
    carrier = None if recorder is None else carrier_in(headers)
    if recorder is None or carrier is None:
        return
    try:
        act(recorder, parent_of(carrier, recorder))
    except Exception as trouble:  # noqa: BLE001 - the user's work goes on
        recorder.notices.trouble("integrations", f"work could not be told of: {trouble!r}")


def serve_others(engine: str | None = None) -> None:
    """Let this process's part in an experiment end when it has had no work of it for a while.

    Args:
        engine: whose process it is, if that one ends idle processes without a word: then nothing has failed.
    """
    recorder = process.recorder()
    if recorder is not None:
        recorder.jobs.serving = Serving(IDLE_LIMIT_S, engine)


def close_process() -> None:
    """Deliver what this process has recorded and end its part: it is about to be ended without Python's own exit."""
    runtime = process.PROCESS.runtime_in_use()
    if runtime is not None:
        runtime.close()


class Piece:
    """A piece of work at work: its node is the current one from `start` to the end; nothing here raises.

    Args:
        headers: what came with it; without any it goes below the current node.
        name: of its node.
        key: the same as where it was handed over; None for work that has no node of its own, but that of its parent.
        metadata: what is known of it.
    """

    def __init__(
        self, headers: Mapping[str, str] | None, name: str, key: str | None, **metadata: Any
    ) -> None:
        self.headers = headers
        self._name = name
        self._key = key
        self._metadata = metadata
        self._recorder: Recorder | None = None
        self._context: Context | None = None
        self._before: Context | None = None
        self.node: Node | None = None

    def start(self) -> Piece:
        """Open the node."""
        recorder = process.ready_recorder()
        if recorder is None:
            return self
        carrier = None if self.headers is None else carrier_in(self.headers)
        parent = recorder.parent_now() if carrier is None else parent_of(carrier, recorder)
        if parent is None:
            return self
        self._recorder = recorder
        if self._key is None:
            self._context = parent.context
            self._before = enter(self._context)
            return self
        options = {"key": self._key, "metadata": self._metadata}
        self.node = recorder.open("step", self._name, parent, options)
        if self.node is not None:
            self._context = self.node.context
            self._before = enter(self._context)
        return self

    def end(self, error: BaseException | None = None) -> None:
        """End it; `error` is what it raised."""
        if self._key is None and error is not None and self._recorder is not None:
            record = failure_record(self._name, "task", error)
            if record is not None:
                self._recorder.log(record)
        self._finish(lambda recorder, node: recorder.close(node, error))

    def retry(self, message: str, error: BaseException | None = None) -> None:
        """Give it back to be tried again; the reason is logged with its traceback."""

        def give_back(recorder: Recorder, node: Node) -> None:
            log_for(recorder, node, logging.WARNING, message, error)
            if error is not None:
                node.note_error(error_type_of(error))
            park(recorder, node, message)

        self._finish(give_back)

    def give_up(self, message: str) -> None:
        """End it as cancelled, unless somebody tells more of its end: this process is being ended from outside."""
        self._finish(lambda recorder, node: give_up(recorder, node, message))

    def cancel(self, message: str) -> None:
        """End it as cancelled."""
        self._finish(lambda recorder, node: cancel(recorder, node, message))

    def _finish(self, how: Callable[[Recorder, Node], None]) -> None:
        node, recorder, self.node = self.node, self._recorder, None
        if node is not None and recorder is not None:
            _quietly(recorder, node, how)
        if self._context is not None and self._before is not None:
            leave(self._context, self._before)


class Branch:
    """A node that stands for many pieces of work, kept by whoever sees them all; it is never the current one.

    Args:
        headers: where it belongs.
        name: of its node.
        unit: what a piece is called.
        metadata: what is known of it.
    """

    def __init__(self, headers: Mapping[str, str], name: str, *, unit: str, **metadata: Any) -> None:
        self._node: Node | None = None
        self._recorder = process.ready_recorder()
        carrier = None if self._recorder is None else carrier_in(headers)
        if self._recorder is not None and carrier is not None:
            parent = parent_of(carrier, self._recorder)
            self._node = self._recorder.open("step", name, parent, {"unit": unit, "metadata": metadata})

    def headers(self) -> dict[str, str]:
        """Return the headers that lead to it."""
        if self._node is None or self._recorder is None:
            return {}
        return headers_of(self._node, self._recorder.worker)

    def progress(self, completed: int, total: int) -> None:
        """Tell how many of its pieces are done."""
        if self._node is not None:
            self._node.progress(completed, total)

    def end(self) -> None:
        """End it."""
        self._finish(lambda recorder, node: recorder.close(node, None))

    def fail(self, message: str) -> None:
        """End it as failed; what failed in it was told where it happened."""
        error = TasksFailedError(message)
        mark_reported(error)
        self._finish(lambda recorder, node: recorder.close(node, error))

    def cancel(self, message: str) -> None:
        """End it as cancelled."""
        self._finish(lambda recorder, node: cancel(recorder, node, message))

    def _finish(self, how: Callable[[Recorder, Node], None]) -> None:
        node, self._node = self._node, None
        if node is not None and self._recorder is not None:
            _quietly(self._recorder, node, how)


class TasksFailedError(PipespanError):
    """Some of the tasks that a node stands for have failed."""


def _quietly(recorder: Recorder, node: Node, how: Callable[[Recorder, Node], None]) -> None:
    try:
        if not node.is_ended:
            how(recorder, node)
    except Exception as trouble:  # noqa: BLE001 - the user's work goes on
        recorder.notices.trouble("integrations", f"work could not be told of: {trouble!r}")
