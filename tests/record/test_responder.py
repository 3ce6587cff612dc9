from __future__ import annotations

import pytest

from pipespan.model.rows import EventRow
from pipespan.record.cancelling import Cancellation
from pipespan.record.responder import Responder
from pipespan.store.base import RequestRow
from tests.record.support import Recorded


def test_a_request_is_told_of_though_the_program_stops_at_once(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread may end the record in the very moment in which it is asked to stop."""
    recorder = recorded.recorder
    cancel = recorder.cancel

    def stop_at_once(cancellation: Cancellation, details: dict[str, object]) -> None:
        cancel(cancellation, details)
        recorder.end_cancelled()

    monkeypatch.setattr(recorder, "cancel", stop_at_once)
    with recorded.pipeline("run"):
        answer = Responder(recorder, lambda _: True).answer(RequestRow("q", "cancel", "ada@node7", {}))
    assert answer["is_accepted"]
    (told,) = [row for row in recorded.rows(EventRow) if row.event_type == "request"]
    assert (told.details["kind"], told.details["asked_by"]) == ("cancel", "ada@node7")
