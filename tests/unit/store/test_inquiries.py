"""Many programs look for requests at the same moments; the database is asked for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipespan.store.base import RequestRow
from pipespan.store.courier.inquiries import FRESH_S, REMEMBERED_S, Inquiries

JOBS = ("a", "b", "c", "d")


class Desk:
    """A database with requests of jobs, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked_of: set[str] = set()
        self.queries: list[list[str]] = []

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        self.queries.append(sorted(job_ids))
        return [RequestRow(one, "stack", "me", {}) for one in job_ids if one in self.asked_of]

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        raise AssertionError("to look answers nothing")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def told(inquiries: Inquiries, desk: Desk, job: str) -> list[str]:
    return [one.id for one in inquiries.open_requests(desk, [job])]


def test_one_query_is_for_all_that_look_at_a_time() -> None:
    """Once they know of each other; and none is for programs that have not looked for long."""
    clock, desk = Clock(), Desk()
    inquiries = Inquiries(clock)
    for job in JOBS:
        assert told(inquiries, desk, job) == []
    clock.now_s += 1.4
    desk.queries.clear()
    for job in JOBS:
        clock.now_s += FRESH_S / 8
        assert told(inquiries, desk, job) == []
    assert desk.queries == [sorted(JOBS)]
    clock.now_s += REMEMBERED_S
    assert told(inquiries, desk, "a") == []
    assert desk.queries[1:] == [["a"]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(JOBS), st.sampled_from(["look", "look", "ask", "answer"]), st.floats(0.0, 2.0)
        ),
        max_size=60,
    )
)
def test_each_is_told_what_is_asked_of_it_alone_and_soon(moves: list[tuple[str, str, float]]) -> None:
    """A program hears nothing of others, nothing that is answered, and what was asked a moment ago at the latest."""
    clock, desk = Clock(), Desk()
    inquiries = Inquiries(clock)
    asked_at_s: dict[str, float] = {}
    for job, move, pause_s in moves:
        clock.now_s += pause_s
        if move == "ask":
            desk.asked_of.add(job)
            asked_at_s.setdefault(job, clock.now_s)
        elif move == "answer":
            desk.asked_of.discard(job)
            asked_at_s.pop(job, None)
        else:
            found = told(inquiries, desk, job)
            assert found in ([], [job] if job in desk.asked_of else [])
            if job in asked_at_s and clock.now_s - asked_at_s[job] > FRESH_S:
                assert found == [job]
