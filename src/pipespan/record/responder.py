"""Answers what others ask of this process, whichever way it came: where it stands, and to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pipespan.model.attributes import plain_text
from pipespan.model.rows import EventRow
from pipespan.record.cancelling import Cancellation
from pipespan.record.dump import process_dump
from pipespan.record.extras import SOURCE

if TYPE_CHECKING:
    from pipespan.record.job import Job
    from pipespan.record.recorder import Recorder
    from pipespan.store.base import RequestRow

MAX_KNOWN: Final = 16
"""So many answers are kept: a question may come twice, through the folder and through the database."""

MARGIN_S: Final = 2.0
"""Where the asker itself sends the signals, this process does so only after so much longer."""

FLUSH_S: Final = 2.0
"""Before this process kills itself on request, the end of its record gets so long to reach the database."""


class Responder:
    """Answers questions; any thread may ask.

    Args:
        recorder: of this process.
        flush: waits until what was recorded is delivered, for at most so many seconds.
        dump: gives what the process does.
    """

    def __init__(
        self,
        recorder: Recorder,
        flush: Callable[[float], Any],
        dump: Callable[[], dict[str, Any]] = process_dump,
    ) -> None:
        self._recorder = recorder
        self._flush = flush
        self._dump = dump
        self._lock = threading.RLock()
        self._known: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._signals: list[tuple[float, int]] = []

    def answer(self, question: RequestRow) -> Mapping[str, Any]:
        """Answer `question`, one that was answered before in the same way; never raises."""
        with self._lock:
            known = self._known.get(question.id)
            if known is None:
                answer = self._recorder.redactor.json(self._new_answer(question))
                # Names of threads and tasks, and commands of children, may hold what nobody is to read.
                known = self._known[question.id] = (
                    answer if isinstance(answer, Mapping) else {"error": answer}
                )
                while len(self._known) > MAX_KNOWN:
                    self._known.popitem(last=False)
            return known

    def look(self) -> None:
        """Do what is due after a request to stop; called by the ticker's thread."""
        cancellation = self._recorder.cancellation
        if cancellation is None or not self._signals:
            return
        after_s, number = self._signals[0]
        if cancellation.age_s() < after_s:
            return
        del self._signals[0]
        if self._recorder.jobs:  # else it has stopped working on what it was asked to stop
            self._send_to_itself(number)

    def _new_answer(self, question: RequestRow) -> Mapping[str, Any]:
        try:
            # First: the program may have stopped, and its record ended, before a request to stop is answered.
            self._tell(question)
            if question.kind == "stack":
                answer: Mapping[str, Any] = self._dump()
            elif question.kind == "cancel":
                answer = self._cancel(question)
            else:
                answer = {"error": f"this process does not know the request {question.kind[:40]!r}"}
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the thread that was asked
            answer = {"error": f"the request failed: {error!r}"}
        return answer

    def _cancel(self, question: RequestRow) -> Mapping[str, Any]:
        recorder = self._recorder
        if recorder.cancellation is None:
            signal_after_s, kill_after_s = (
                _seconds(question, "signal_after_s"),
                _seconds(question, "kill_after_s"),
            )
            margin_s = MARGIN_S if question.args.get("is_signalled_by_asker") else 0.0
            for after_s, number in ((signal_after_s, signal.SIGTERM), (kill_after_s, _kill_signal())):
                if after_s is not None:
                    self._signals.append((after_s + margin_s, number))
            self._signals.sort()
            details = {
                "by": plain_text(question.asked_by),
                "at_unix_ns": time.time_ns(),
                "request_id": question.id,
            }
            recorder.cancel(Cancellation(plain_text(question.asked_by), signal_after_s), details)
        return {"pid": os.getpid(), "is_accepted": True}

    def _send_to_itself(self, number: int) -> None:
        name = signal.Signals(number).name
        for job in self._recorder.jobs:
            self._write(
                job, f"{name} goes to process {os.getpid()}, which has not stopped yet", {"signal": name}
            )
        if number != signal.SIGTERM or signal.getsignal(number) in {signal.SIG_DFL, None}:
            # Nothing of the program will run after this, so its record is ended here.
            self._recorder.end_cancelled()
            self._flush(FLUSH_S)
        os.kill(os.getpid(), number)

    def _tell(self, question: RequestRow) -> None:
        what = "where it stands" if question.kind == "stack" else "to stop"
        for job in self._recorder.jobs:
            self._write(
                job, f"{question.asked_by} asked process {os.getpid()} {what}",
                {"kind": question.kind, "asked_by": question.asked_by, "request_id": question.id, **question.args},
            )  # fmt: skip

    def _write(self, job: Job, title: str, details: Mapping[str, Any]) -> None:
        self._recorder.write(
            EventRow(
                experiment_id=job.experiment.id,
                job_id=job.id,
                node_id=None,
                event_type="request",
                source=SOURCE,
                severity="INFO",
                title=plain_text(title),
                details=details,
                timestamp=time.time_ns(),
            )
        )


def _seconds(question: RequestRow, name: str) -> float | None:
    value = question.args.get(name)
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _kill_signal() -> int:
    return getattr(signal, "SIGKILL", signal.SIGTERM)
