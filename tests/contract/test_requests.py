from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from pipespan.record.recorder import Recorder
from pipespan.store.base import Asker, Desk, RequestRow
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.requests import PostgresAsker
from pipespan.store.postgres.write import PostgresSink
from pipespan.wiring.lookout import RequestVisit
from tests.fixtures.rows import EXPERIMENT_ID, Shipper, experiment, new_key
from tests.record.support import Recorded

JOB_ID = "7c1d0a52-0000-4000-8000-00000000000a"


class Both:
    """The two ends of one store."""

    def __init__(self, asker: Asker, desk: Any) -> None:
        self.asker = asker
        self.desk: Desk = desk
        Shipper(desk, new_key()).ship(experiment())

    def ask(self, kind: str = "stack", job_id: str = JOB_ID, **args: Any) -> RequestRow:
        request = RequestRow(str(uuid.uuid4()), kind, "ada@node7", args)
        self.asker.ask(request, EXPERIMENT_ID, job_id)
        return request


@pytest.fixture(params=["memory", "postgres"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    if request.param == "memory":
        store = MemoryStore()
        yield Both(store, store)
        return
    dsn = request.getfixturevalue("dsn")
    with closing(PostgresAsker(dsn)) as asker, closing(PostgresSink(dsn)) as sink:
        yield Both(asker, sink)


def test_a_request_reaches_its_job_and_its_answer_the_asker(both: Both) -> None:
    """Open until it is answered, and the first answer stays, whatever characters it has."""
    request = both.ask(signal_after_s=10.0, text="odd \ud800 \u2028")
    assert [(one.id, one.kind, one.asked_by) for one in both.desk.open_requests([JOB_ID])] == [
        (request.id, "stack", "ada@node7")
    ]
    assert both.desk.open_requests([JOB_ID])[0].args["signal_after_s"] == 10.0
    assert both.asker.answers([request.id]) == {}
    both.desk.answer_request(request.id, {"threads": ["a\x00b", "é"]})
    both.desk.answer_request(request.id, {"threads": []})
    assert both.desk.open_requests([JOB_ID]) == []
    answer = both.asker.answers([request.id, str(uuid.uuid4())])[request.id]
    assert answer["threads"][1] == "é"


def test_requests_of_other_jobs_are_not_seen(both: Both) -> None:
    """A process sees what is asked of itself."""
    both.ask(job_id=str(uuid.uuid4()))
    assert both.desk.open_requests([JOB_ID]) == []
    assert both.desk.open_requests([]) == []


def test_the_same_request_twice_is_one(both: Both) -> None:
    """Asking again after a lost connection does no harm."""
    request = both.ask("cancel")
    both.asker.ask(request, EXPERIMENT_ID, JOB_ID)
    assert len(both.desk.open_requests([JOB_ID])) == 1


class Failing:
    """A desk that has lost its rights."""

    def __init__(self) -> None:
        self.calls = 0

    def open_requests(self, job_ids: Any) -> Any:
        self.calls += 1
        raise OSError("permission denied")


def test_a_desk_that_fails_is_left_alone_for_a_while(recorded: Recorded) -> None:
    """Looking for requests never fails the delivery of rows, and does not go on failing each second."""
    desk = Failing()

    def answer(question: RequestRow) -> Any:
        raise AssertionError(question)

    visit = RequestVisit(lambda: recorded.recorder, answer)
    with recorded.pipeline():
        visit(desk)
        visit(desk)
    assert desk.calls == 1
    assert "requests" in recorded.troubles()


@pytest.fixture
def recorded() -> Recorded:
    made = Recorded()
    assert isinstance(made.recorder, Recorder)
    return made
