"""Any value as text or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.attributes import MAX_TEXT_CHARS, json_text, jsonable, plain_text

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.frozensets(st.integers() | ANY_TEXT, max_size=4)
        | st.dictionaries(ANY_TEXT | st.integers() | st.binary(max_size=3) | st.none(), inner, max_size=4)
    ),
    max_leaves=15,
)


@dataclass
class Point:
    x: float
    tags: set[str]


class Hostile:
    """Raises from everything that a look at it may call."""

    def __repr__(self) -> str:
        raise RuntimeError

    def item(self) -> Any:
        raise ValueError

    def __iter__(self) -> Any:
        raise KeyError


class HostileDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


class HostileText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class HostileNumber(int):
    def __int__(self) -> int:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


@given(text=ANY_TEXT)
def test_text_is_storable_and_stays_what_it_can(text: str) -> None:
    """No NUL and no lone surrogate is left; all other characters are kept; again changes nothing."""
    stored = plain_text(text)
    assert "\x00" not in stored
    stored.encode()
    assert plain_text(stored) == stored
    if "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
        assert stored == text


def test_endless_text_is_cut_and_says_so() -> None:
    """A bound holds whatever the length."""
    stored = plain_text("x" * (MAX_TEXT_CHARS + 5))
    assert len(stored) < MAX_TEXT_CHARS + 50
    assert stored.endswith("[cut: 1000005 characters]")


@given(value=ANY_VALUE)
def test_any_value_is_strict_json(value: Any) -> None:
    """The text is valid UTF-8 without NUL, NaN or infinities, and parses."""
    text = json_text(value)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(text, parse_constant=refuse)


JSON_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abc\\"', max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(value=JSON_VALUE)
def test_json_values_survive_unchanged(value: Any) -> None:
    """What JSON knows is not altered, neither at once nor rebuilt."""
    assert json.loads(json_text(value)) == value
    assert jsonable(value) == value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": math.nan, "b": -math.inf}, {"a": "nan", "b": "-inf"}),
        (b"ab\xff", "ab\\xff"),
        (bytearray(b"x"), "x"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, (2,)), [1, [2]]),
        ({1: "a", None: "b", "c": 1j}, {"1": "a", "null": "b", "c": "1j"}),
        ({(1, 2): "t"}, {"(1, 2)": "t"}),
        (Point(math.inf, {"a"}), {"x": "inf", "tags": ["a"]}),
        ("a\x00\ud800", "a\u2400<U+D800>"),
        ([10**5000], ["<int of 16610 bits>"]),
        (memoryview(bytes(4)).cast("B", [2, 2]), "\u2400" * 4),
        ({True: 1, None: {1}}, {"true": 1, "null": [1]}),
        ({"a\x00": "\\u0000"}, {"a\u2400": "\\u0000"}),
    ],
)
def test_odd_values_are_readable(value: Any, stored: Any) -> None:
    """Each has one fixed form."""
    assert json.loads(json_text(value)) == stored


def test_cycles_and_depth_end() -> None:
    """A value inside itself is named, nesting without end becomes its repr."""
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = cycle
    assert json.loads(json_text(cycle)) == {"a": 1, "self": "<cycle>"}
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    json.loads(json_text({"deep": deep}))


def test_huge_json_is_cut_and_says_so() -> None:
    """The bound of a column holds for JSON too."""
    cut = json.loads(json_text({"x": ["y" * 1000] * 5_000}))
    assert set(cut) == {"pipespan.cut", "preview"}


@pytest.mark.parametrize(
    "value",
    [
        Hostile(),
        HostileDict(a=1),
        HostileText("x\x00"),
        [Hostile()],
        {"k": HostileText("x")},
        {HostileNumber(1), 1j},
    ],
    ids=lambda value: type(value).__name__,
)
def test_hostile_objects_raise_nothing(value: Any) -> None:
    """Whatever a user's object does when it is looked at, there is JSON in the end."""
    assert set(json.loads(json_text({"value": value, "odd": {1, "a"}}))) == {"value", "odd"}
    assert json.loads(json_text(value)) is not None
