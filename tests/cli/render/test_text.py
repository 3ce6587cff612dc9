from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pipespan.cli.render.text import (
    coarse,
    duration,
    lines_of,
    moment,
    one_line,
    plain,
    rate,
    scaled,
    shorten,
)

TEXT = st.text(alphabet=st.characters(), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Größe 日本 👍🏽", "Größe 日本 👍🏽"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2Jclear", "\\x1b[2Jclear"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udc80", "\\udc80"),
        ("a\tb\x00\x7f", "a b\\x00\\x7f"),
    ],
)
def test_controls_are_shown(text: str, shown: str) -> None:
    """Whatever a terminal would obey is made visible; colours alone are dropped."""
    assert one_line(text) == shown


@given(TEXT)
def test_a_line_is_one_line(text: str) -> None:
    """No text breaks its line or reaches the terminal as a command."""
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in shown)
    shown.encode("utf-8")
    assert plain(shown, ascii_only=True).isascii()


def test_lines_of_a_message() -> None:
    """Line ends separate, returns in a line are shown, tabs become spaces."""
    assert lines_of("a\r\nb\n\tc\rd") == ["a", "b", "        c\\rd"]


@given(TEXT, st.integers(0, 70), st.booleans())
def test_shortening_keeps_to_the_width(text: str, width: int, ascii_only: bool) -> None:
    """However wide its characters are, a shortened text takes no more cells than allowed."""
    short = shorten(one_line(text), width, ascii_only=ascii_only)
    assert cell_len(short) <= width


def test_shortening_keeps_both_ends() -> None:
    """What tells siblings apart stands at the start or at the end."""
    assert shorten("experiment-with-a-long-name-0042", 15) == "experim…me-0042"
    assert shorten("experiment-with-a-long-name-0042", 15, ascii_only=True) == "experim..e-0042"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 m 0 s"),
        (192, "3 m 12 s"),
        (3599.7, "1 h 0 m"),
        (3900, "1 h 5 m"),
        (183_600, "2 d 3 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Two leading units."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (192, "3 m"), (10_799, "2 h"), (400_000, "4 d")]
)
def test_coarse_durations(seconds: float, text: str) -> None:
    """One unit, rounded down, where room is short."""
    assert coarse(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(12.34, "12.3/s"), (1234, "1.2k/s"), (0.05, "3/min"), (0.001, "3.6/h"), (1e-5, "0.9/d")],
)
def test_rates(per_s: float, text: str) -> None:
    """The unit of time gives a number to speak of."""
    assert rate(per_s) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1250, "1.2k"), (999_600, "1.0M"), (5e9, "5G"), (2e13, "20T")],
)
def test_scaled_numbers(value: float, text: str) -> None:
    """Large counts in about three digits."""
    assert scaled(value) == text


def test_moments_have_their_zone() -> None:
    """A time without its zone would be ambiguous for readers elsewhere."""
    when = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=timezone.utc)
    assert moment(when, timezone(timedelta(hours=1), "CET")) == "2026-03-01 13:00:00 CET"
    assert moment(when, timezone.utc, has_ms=True) == "2026-03-01 12:00:00.005 UTC"
