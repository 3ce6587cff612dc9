"""Folding of terminal output into lines."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.supervise.folding import LineFolder
from pipespan.supervise.screen import MAX_LINE_CHARS, MAX_ROWS


def fold(*chunks: bytes | str) -> list[str]:
    folder = LineFolder()
    lines = []
    for chunk in chunks:
        lines += folder.feed(chunk.encode() if isinstance(chunk, str) else chunk)
    return lines + folder.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip(borders, borders[1:], strict=False)]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)
PLAIN = st.text(st.characters(exclude_characters="\r\b\x1b", exclude_categories=["Cs"]))
TERMINAL = st.lists(
    st.one_of(
        st.text("ab \n漢é", max_size=6),
        st.sampled_from(
            [
                "\r",
                "\n",
                "\b",
                "\r\n",
                "\x1b[A",
                "\x1b[2A",
                "\x1b[B",
                "\x1b[K",
                "\x1b[1K",
                "\x1b[2K",
                "\x1b[J",
            ]
            + [
                "\x1b[2J",
                "\x1b[H",
                "\x1b[3;2H",
                "\x1b[5C",
                "\x1b[2D",
                "\x1b[4G",
                "\x1b[31m",
                "\x1b[?25l",
                "\x1bM",
            ]
            + ["\x1b]0;title\x07", "\x1b]8;;x\x1b\\", "\x1b(B", "\x1b[?1049h", "\x1b[?1049l", "\x1b", "\x1b["]
        ),
    ),
    max_size=60,
).map("".join)


@given(PLAIN, CUTS)
def test_plain_text_comes_through_whole(text, places):
    """Without carriage returns the lines are the text, however it was cut into chunks."""
    assert "\n".join(fold(*cut(text.encode(), places))) == text.removesuffix("\n")


@given(st.binary(max_size=300), CUTS)
def test_any_bytes_fold_the_same_however_they_are_cut(data, places):
    """Binary garbage raises nothing and does not depend on chunks."""
    assert fold(*cut(data, places)) == fold(data)


@given(TERMINAL, CUTS)
def test_terminal_streams_fold_the_same_however_they_are_cut(text, places):
    """Carriage returns and cursor movements do not depend on chunks either."""
    data = text.encode()
    assert fold(*cut(data, places)) == fold(data)


MANY = st.lists(
    st.sampled_from(["", "a", "漢", "longer line", "x" * MAX_LINE_CHARS, "y" * (MAX_LINE_CHARS + 1)]),
    min_size=2 * MAX_ROWS, max_size=3 * MAX_ROWS,
).map("\n".join)  # fmt: skip


@given(TERMINAL, MANY, TERMINAL)
def test_many_plain_lines_at_once_fold_as_one_by_one(before, lines, after):
    """The short cut for large pieces leaves the same lines and the same screen as going line by line."""
    one_by_one = [line + "\n" for line in lines.split("\n")]
    assert fold(before, lines + "\n", after) == fold(before, *one_by_one, after)
    assert fold(before, lines, after) == fold(before, *one_by_one[:-1], lines.rpartition("\n")[2], after)


@given(st.lists(st.text("abc漢字x ", max_size=12), min_size=1, max_size=6))
def test_carriage_returns_overwrite_by_column(states):
    """The folded line is what a screen of cells would show."""
    cells: list[str] = []
    for state in states:
        column = 0
        for char in state:
            width = 1 if char.isascii() else 2
            cells += [" "] * (column + width + 1 - len(cells))
            for edge in (column, column + width):
                if cells[edge] == "":
                    cells[edge - 1 : edge + 1] = "  "
            cells[column : column + width] = [char, ""][:width]
            column += width
    assert [line.rstrip() for line in fold("\r".join(states) + "\n")] == ["".join(cells).rstrip()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\r\nb\r\n", ["a", "b"]),
        ("50%\r100%\n", ["100%"]),
        ("downloading\rdone       \n", ["done"]),
        ("\r  0%|   |\r 50%|#  |\r100%|###|\n", ["100%|###|"]),
        ("abc\b\bX\n", ["aXc"]),
        ("\x1b[1;31mred\x1b[0m\n", ["red"]),
        ("\x1b]0;window title\x07text\n", ["text"]),
        ("\x1b]8;;link\x1b\\text\x1b]8;;\x1b\\\n", ["text"]),
        ("\x1b]0;never ended\nnext\n", ["", "next"]),
        ("working...\r\x1b[Kdone\n", ["done"]),
        ("last line without newline", ["last line without newline"]),
        ("\n\nblank lines stay\n", ["", "", "blank lines stay"]),
        ("before\n\x1b[?1049hfull screen\n\x1b[?1049lafter\n", ["before", "after"]),
        ("漢字\rab\n", ["ab字"]),
        ("漢字\r a\n", [" a字"]),
        ("漢字\ra\n", ["a 字"]),
        ("", []),
        ("\x1b[999999999Cfar\n", [" " * MAX_LINE_CHARS, "far"]),
    ],
)
def test_a_terminal_would_show_it_so(text, lines):
    """Each control sequence does to the log what it does on the screen."""
    assert fold(text) == lines


def test_the_state_of_an_unfinished_line_can_be_seen():
    """`current` is the last state of the bar that is still moving."""
    folder = LineFolder()
    assert folder.feed(b"started\n\r 10%\r 20%") == ["started"]
    assert folder.current == " 20%"


def test_utf8_split_between_chunks_is_one_character():
    """A character whose bytes come in two reads is not broken."""
    assert fold("né".encode()[:2], "né".encode()[2:]) == ["né"]


def test_a_megabyte_line_is_cut_and_nothing_is_lost():
    """Lines are bounded in length; the pieces together are the line."""
    line = "0123456789" * 100_000
    folded = fold(*[line[i : i + 4096] for i in range(0, len(line), 4096)], "\nnext\n")
    assert "".join(folded[:-1]) == line
    assert max(map(len, folded)) == MAX_LINE_CHARS
    assert folded[-1] == "next"


def test_lines_come_at_once():
    """A finished line is not held back."""
    folder = LineFolder()
    assert [folder.feed(b"one\n"), folder.feed(b"two\n")] == [["one"], ["two"]]


def test_memory_is_bounded():
    """A stream that goes up and down for ever keeps a bounded number of rows."""
    folder = LineFolder()
    for _ in range(2000):
        folder.feed(b"x" * 50 + b"\n" * 40 + b"\x1b[30A")
    assert len(folder._screen._rows) <= MAX_ROWS


def test_nested_bars_of_tqdm_make_few_lines():
    """Three bars that redraw each other a thousand times leave about their last states."""
    from tqdm import tqdm

    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    for _ in tqdm(range(3), file=stream, mininterval=0, desc="outer", ascii=True):
        for _ in tqdm(range(5), file=stream, mininterval=0, desc="middle", leave=False, ascii=True):
            for _ in tqdm(range(50), file=stream, mininterval=0, desc="inner", leave=False, ascii=True):
                pass
    lines = fold(stream.getvalue(), "after\n")
    assert len(lines) < 20
    assert any(line.startswith("outer: 100%") for line in lines)
    assert lines[-1] == "after"


def test_bars_of_rich_with_lines_above_make_few_lines():
    """Lines printed above live bars come through once each; the bars leave few states."""
    from rich.console import Console
    from rich.progress import Progress

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with Progress(console=console, auto_refresh=False) as bars:
        tasks = [bars.add_task(f"bar {n}", total=100) for n in range(3)]
        for step in range(100):
            for task in tasks:
                bars.advance(task)
            bars.refresh()
            if step % 10 == 0:
                console.print(f"line {step}")
    lines = fold(stream.getvalue(), "after\n")
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(0, 100, 10)]
    assert len(lines) < 30
    assert sum("100%" in line for line in lines) == 3
    assert lines[-1] == "after"


def test_lines_after_the_bars_come_at_once_again():
    """When nothing moves up any more, lines are no longer held back."""
    folder = LineFolder()
    folder.feed(b"a\nb\nc\x1b[2Aa2\nb2\nc2\n")
    lines: list[str] = []
    for number in range(30):
        lines = folder.feed(f"line {number}\n".encode())
    assert lines == ["line 29"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_speed_is_linear(size):
    """A megabyte of lines folds quickly even in tiny pieces."""
    data = b"a line of a log, as long as such lines are, more or less\n" * (200_000 // 57)
    assert len(fold(*[data[i : i + size] for i in range(0, len(data), size)])) == 200_000 // 57
