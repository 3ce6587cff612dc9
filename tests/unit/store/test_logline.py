"""A prepared line is the line of its row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.attributes import MAX_TEXT_CHARS
from pipespan.model.rows import LogRow
from pipespan.model.status import LOG_LEVELS, LogLevel
from pipespan.store.copytext import PreparedJson, encode_row
from pipespan.store.logline import LogLine, ids_text, owner_text

UUID = "0198c0de-1111-4222-8333-444455556666"
TEXTS = st.text(max_size=30)
MESSAGES = TEXTS | st.just("x" * (MAX_TEXT_CHARS + 1))


@given(
    st.tuples(TEXTS, TEXTS, st.integers(0, 4_000_000_000 * 10**9), MESSAGES),
    st.tuples(st.sampled_from(LOG_LEVELS), st.integers(0, 24)),
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(), max_size=3),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1)),
)
def test_a_prepared_line_is_the_line_of_the_row(
    said: tuple[str, str, int, str],
    level: tuple[LogLevel, int],
    context: dict[str, object],
    ids: tuple[int, int],
) -> None:
    """Whatever the columns hold, both ways of writing them give the same bytes."""
    node_id, logger_name, timestamp, message = said
    code = PreparedJson(context)
    row = LogRow(
        UUID, UUID, node_id, timestamp, *level, logger_name, message, code, None, None, None,
        f"{ids[0]:032x}" if ids[0] else None, f"{ids[1]:016x}" if ids[1] else None,
    )  # fmt: skip
    line = LogLine(*level, logger_name, code)
    assert line.encode(owner_text(UUID, UUID, node_id), timestamp, message, ids_text(*ids)) == encode_row(row)
