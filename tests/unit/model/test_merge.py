"""The merge rule: order-free, final, idempotent."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.merge import merge, precedence
from pipespan.model.rows import NodeRow
from pipespan.model.status import STATUSES, TERMINAL_STATUSES
from tests.fixtures.rows import node

ROWS = st.builds(
    lambda status, attempt, version: node("n", status=status, attempt=attempt, version=version),
    st.sampled_from(STATUSES),
    st.integers(0, 3),
    st.integers(-1, 5),
)


def merged(rows: list[NodeRow]) -> NodeRow | None:
    start: NodeRow | None = None
    return reduce(merge, rows, start)


@given(data=st.data(), rows=st.lists(ROWS, min_size=1, unique_by=precedence))
def test_order_and_repetition_do_not_matter(data: st.DataObject, rows: list[NodeRow]) -> None:
    """Any order, with any row any number of times, ends with the same row."""
    again = data.draw(st.lists(st.sampled_from(rows)))
    assert merged(data.draw(st.permutations(rows + again))) == max(rows, key=precedence)


@given(known=ROWS, late=ROWS)
def test_an_ended_attempt_is_not_reopened(known: NodeRow, late: NodeRow) -> None:
    """Only a later attempt outranks an end by something that runs."""
    stays = merge(known, late)
    if known.status in TERMINAL_STATUSES and late.attempt <= known.attempt:
        assert stays.status in TERMINAL_STATUSES


@given(row=ROWS)
def test_what_is_known_stays_on_a_tie(row: NodeRow) -> None:
    """An equal rank changes nothing."""
    assert merge(row, row._replace(message="other")) is row
