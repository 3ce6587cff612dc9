"""A node's prepared line is the line of its row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.rows import NodeRow
from pipespan.model.status import NODE_LEVELS, STATUSES, NodeLevel, Status
from pipespan.store.copytext import encode_json, encode_row
from pipespan.store.nodeline import NodeLine

UUID = "0198c0de-1111-4222-8333-444455556666"
TEXTS = st.text(max_size=30)
UNITS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 4_000_000_000 * 10**9)


@given(
    st.tuples(TEXTS, st.sampled_from(NODE_LEVELS), st.none() | TEXTS, TEXTS),
    st.tuples(st.sampled_from(STATUSES), UNITS, st.none() | UNITS, st.none() | TEXTS),
    st.tuples(st.floats(0, 1e9), st.none() | TEXTS, st.none() | TEXTS, TIMES, st.none() | TIMES),
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(), max_size=3),
)
def test_a_prepared_line_is_the_line_of_the_row(
    place: tuple[str, NodeLevel, str | None, str],
    units: tuple[Status, int, int | None, str | None],
    rest: tuple[float, str | None, str | None, int, int | None],
    metadata: dict[str, object],
) -> None:
    """Whatever the columns hold, both ways of writing them give the same bytes."""
    node_id, level, parent_id, name = place
    weight, message, error_type, start_time, end_time = rest
    row = NodeRow(
        UUID, node_id, level, parent_id, name, *units, weight, message, error_type, start_time, end_time,
        metadata, "a" * 32, "b" * 16, UUID, 1, 7,
    )  # fmt: skip
    line = NodeLine(UUID, node_id, level, parent_id, name, "a" * 32, "b" * 16, UUID, 1, start_time)
    assert line.encode(*units, weight, message, error_type, end_time, encode_json(metadata), 7) == encode_row(
        row
    )


@given(
    st.tuples(TEXTS, st.sampled_from(NODE_LEVELS), st.none() | TEXTS, TEXTS),
    st.sampled_from(STATUSES), TIMES, st.none() | TIMES,
)  # fmt: skip
def test_a_node_of_which_nothing_is_said(
    place: tuple[str, NodeLevel, str | None, str], status: Status, start_time: int, end_time: int | None
) -> None:
    """The short way makes the line that the long one does."""
    line = NodeLine(UUID, *place, "a" * 32, "b" * 16, UUID, 1, start_time)
    bare = line.bare(status, end_time, "{}", 7)
    assert bare == line.encode(status, 0, None, None, 1.0, None, None, end_time, "{}", 7)
