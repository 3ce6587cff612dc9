from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.ids import MAX_NODE_ID_CHARS, MAX_SEGMENT_CHARS, UNNAMED, child_id, segment_of, stage_of

any_text = st.text(alphabet=st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("load", "load"), ("load data", "load data"), ("", UNNAMED), (" \n", UNNAMED), ("a/b", "a:b"), (" a ", "a"),
        ("a\n\tb", "a b"), ("a\0b", "a b"), ("\ud800", UNNAMED), ("a\ud800b", "a b"), ("…é🧪", "…é🧪"), ("#2", "#2"),
    ],
)  # fmt: skip
def test_names_become_elements_of_a_path(name: str, segment: str) -> None:
    """Readable names stay as they are, what a path or a column cannot hold is replaced."""
    assert segment_of(name) == segment


@given(any_text)
def test_a_segment_is_fit_for_a_path_and_stays_as_it_is(name: str) -> None:
    """No separator, no control character, not empty, not long; and a segment is its own segment."""
    segment = segment_of(name)
    assert 0 < len(segment) <= MAX_SEGMENT_CHARS
    assert "/" not in segment
    assert not any(char < " " or "\ud800" <= char <= "\udfff" for char in segment)
    assert segment_of(segment) == segment


def test_long_names_stay_apart() -> None:
    """Names that differ only far behind have different segments."""
    one, two = segment_of("x" * 500 + "1"), segment_of("x" * 500 + "2")
    assert one != two
    assert one[:80] == two[:80] == "x" * 80


@given(st.lists(any_text, min_size=1, max_size=8), any_text, st.integers(1, 10**6))
def test_ids_fit_the_column_and_are_deterministic(path: list[str], name: str, repeat: int) -> None:
    """Whatever the depth: the same path gives the same id, another repeat another one."""
    parent: str | None = None
    for one in path:
        parent = child_id(parent, one)
    made = child_id(parent, name, mark="@r3", repeat=repeat)
    assert len(made) <= MAX_NODE_ID_CHARS
    assert made == child_id(parent, name, mark="@r3", repeat=repeat)
    assert made != child_id(parent, name, mark="@r3", repeat=repeat + 1)
    assert made != child_id(parent, name, mark="@r4", repeat=repeat)


def test_repeats_and_marks_stand_behind_the_name() -> None:
    """`name@mark#2`, and no `#1`."""
    assert child_id("r", "a") == "r/a"
    assert child_id("r", "a", repeat=2) == "r/a#2"
    assert child_id("r", "a", mark="@r3", repeat=2) == "r/a@r3#2"
    assert child_id(None, "r") == "r"


@pytest.mark.parametrize(
    ("node_id", "stage"), [(None, None), ("r", None), ("r/load", "load"), ("r/load/file#2/x", "load")]
)
def test_the_stage_is_the_element_below_the_root(node_id: str | None, stage: str | None) -> None:
    """The root itself has none."""
    assert stage_of(node_id) == stage
