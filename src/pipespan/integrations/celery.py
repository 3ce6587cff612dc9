"""Celery tasks as nodes of the tree that they were submitted from: from submission to result.

Works by Celery's signals alone. The submitting side adds headers to the message; the process that runs the task opens
the node; the worker's main process, which outlives its children, tells what they cannot: that a task was revoked, that
a hard time limit killed it, that its process was lost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from celery import Celery, signals
from celery.exceptions import Retry

from pipespan.integrations.work import Piece, close_process, headers_here, key_of, serve_others, settled, tell
from pipespan.model.status import Status

HEADER: Final = "pipespan"
"""Header of a message with all that leads to the parent of its task."""

_UID: Final = "pipespan"
_NOT_RUN: Final = frozenset({"IGNORED", "REJECTED", "REVOKED"})


class CeleryTracing:
    """Listens to Celery's signals; one serves all apps of a process."""

    def __init__(self) -> None:
        self._pieces: dict[str, _Running] = {}
        # Weakly: whoever forgets a request has no more use for it here.
        self._requests: WeakValueDictionary[str, Any] = WeakValueDictionary()
        # Revoked while they wait for their time: Celery says so when that comes, unless the worker ends before.
        self._never_due: list[Any] = []

    def connect(self) -> None:
        """Listen from now on; a second time does nothing."""
        for signal, receiver in (
            (signals.before_task_publish, self._published),
            (signals.task_received, self._received),
            (signals.task_prerun, self._started),
            (signals.task_retry, self._tried),
            (signals.task_failure, self._failed),
            (signals.task_postrun, self._ended),
            (signals.task_revoked, self._revoked),
            (signals.worker_process_shutdown, self._process_ends),
            (signals.worker_shutting_down, self._worker_ends),
            (signals.worker_shutdown, self._worker_ended),
        ):
            signal.connect(receiver, weak=False, dispatch_uid=(_UID, id(signal)))

    def _published(self, sender: Any = None, headers: Any = None, routing_key: Any = None, **_: Any) -> None:
        if not isinstance(headers, dict) or not headers.get("id") or sender is None:
            return
        task_id, name = str(headers["id"]), str(sender)
        again = self._pieces.get(task_id)
        if again is not None:  # a retry, published by the task that runs
            if again.headers:
                headers[HEADER] = dict(again.headers)
            return
        leading = self._leading_to_parent(task_id)
        if leading:
            told = tell(leading, name, key_of(name, task_id), task_id=task_id, queue=routing_key)
            headers[HEADER] = told

    def _leading_to_parent(self, task_id: str) -> dict[str, str]:
        """Return where a new task belongs: the next one of a chain beside the one before, any other one here."""
        for running in list(self._pieces.values()):
            if task_id in running.successors and running.headers:
                return dict(running.headers)
        return headers_here()

    def _received(self, request: Any = None, **_: Any) -> None:
        if request is not None:
            self._requests[str(request.id)] = request

    def _started(self, task_id: Any = None, task: Any = None, **_: Any) -> None:
        request = task.request
        headers = _headers(request)
        if headers is None and not request.is_eager:
            return
        serve_others()
        metadata = {
            "task_id": task_id,
            "worker": request.hostname,
            "queue": (request.delivery_info or {}).get("routing_key"),
            "retries": request.retries or 0,
        }
        piece = Piece(headers, task.name, key_of(task.name, task_id), **metadata)
        self._pieces[task_id] = _Running(piece.start(), headers, _chained(request))

    def _tried(self, request: Any = None, reason: Any = None, **_: Any) -> None:
        running = self._pieces.get(str(request.id))
        if running is not None:
            running.retry = reason

    def _failed(self, sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
        running = self._pieces.get(str(task_id))
        if running is not None:
            running.error = exception
            return
        request = self._requests.pop(str(task_id), None)  # a task that was killed is told of twice
        if request is not None:
            started = request.time_start
            at_unix_ns = int(started * 1e9) if started else None
            _tell_end(request, "failed", error=exception, started_at_unix_ns=at_unix_ns)

    def _ended(self, task_id: Any = None, state: Any = None, **_: Any) -> None:
        running = self._pieces.pop(str(task_id), None)
        if running is None:
            return
        piece = running.piece
        if isinstance(running.retry, Retry):
            piece.retry(_words(running.retry), running.retry.exc)
        elif running.error is not None:
            piece.end(running.error)
        elif state is None and isinstance(sys.exc_info()[1], SystemExit):
            piece.give_up("its process was told to end")
        elif state in _NOT_RUN:
            piece.cancel(str(state).lower())
        else:
            piece.end()

    def _revoked(
        self, request: Any = None, terminated: Any = None, signum: Any = None, expired: Any = None, **_: Any
    ) -> None:
        headers = None if request is None else _headers(request)
        if headers is None or request is None:
            return
        self._requests.pop(str(request.id), None)
        name = str(getattr(request, "task", None) or getattr(request, "name", None))
        word = f"terminated by signal {signum}" if terminated else "expired" if expired else "revoked"
        settled(
            headers, name, key_of(name, str(request.id)), "cancelled", message=word,
            started_at_unix_ns=time.time_ns() if terminated else None, task_id=request.id,
            worker=getattr(request, "hostname", None),
        )  # fmt: skip

    def _process_ends(self, **_: Any) -> None:
        close_process()

    def _worker_ends(self, **_: Any) -> None:
        from celery.worker.state import revoked  # noqa: PLC0415 - a worker has it; who only submits need not load it

        # No more than this: Celery calls from a signal handler, and forgets them before it calls again.
        waiting = [one for one in list(self._requests.values()) if not one.acknowledged]
        self._never_due = [one for one in waiting if one.id in revoked]

    def _worker_ended(self, **_: Any) -> None:
        never_due, self._never_due = self._never_due, []
        for request in never_due:
            if self._requests.pop(str(request.id), None) is not None:
                _tell_end(request, "cancelled", message="revoked")


class _Running:
    """A task that runs in this process."""

    __slots__ = ("error", "headers", "piece", "retry", "successors")

    def __init__(self, piece: Piece, headers: Mapping[str, str] | None, successors: frozenset[str]) -> None:
        self.piece = piece
        self.headers = headers
        self.successors = successors
        self.error: BaseException | None = None
        self.retry: Any = None


def _tell_end(request: Any, status: Status, **how: Any) -> None:
    """Tell the end of a task that this worker had received, and which no process tells of itself."""
    headers = _headers(request.request_dict)
    if headers is not None:
        key = key_of(request.name, request.id)
        settled(headers, request.name, key, status, task_id=request.id, worker=request.hostname, **how)


def _headers(request: Any) -> Mapping[str, str] | None:
    found = request.get(HEADER) if isinstance(request, Mapping) else getattr(request, HEADER, None)
    return found if isinstance(found, Mapping) else None


def _chained(request: Any) -> frozenset[str]:
    """Return the ids of the tasks that follow in the chain of `request`."""
    following = request.chain if isinstance(request.chain, list) else []
    found = (item.get("options", {}).get("task_id") for item in following if isinstance(item, Mapping))
    return frozenset(str(one) for one in found if one)


def _words(retry: Retry) -> str:
    reason = f"{type(retry.exc).__name__}: {retry.exc}" if retry.exc is not None else str(retry.message or "")
    return f"to be tried again {retry.humanize()}: {reason}".removesuffix(": ")


def instrument(app: Celery) -> Celery:
    """Have the tasks of Celery apps appear as nodes, and return `app`.

    Call it where the app is made, for those who submit and for workers alike. Celery's signals do not tell apps apart,
    so all apps of the process are meant.
    """
    CeleryTracing().connect()
    return app
