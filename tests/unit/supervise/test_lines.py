"""Lines of output as log rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.rows import LogRow, Row, RowType
from pipespan.store.copytext import decode_line, encode_row
from pipespan.supervise.lines import MAX_LAST_ROWS, LineRows


@dataclass(frozen=True)
class Node:
    experiment_id: str = "e"
    job_id: str = "j"
    node_id: str = "run"
    trace_id: str | None = None
    span_id: str | None = None


@dataclass
class Written:
    """Takes rows in both forms, in one order."""

    lines: list[bytes] = field(default_factory=list)
    row_count: int = 0

    def write(self, row: Row) -> None:
        self.row_count += 1
        self.lines.append(encode_row(row))

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        assert row_type is LogRow
        assert droppable  # a mild log row, as `write` sorts it
        self.lines.append(line)


def write(lines: list[str]) -> Written:
    written = Written()
    LineRows(Node(), written, written).write("stdout", lines)
    return written


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=8))
def test_every_line_is_a_row_in_its_order(texts):
    """Whether few or many come at once: same order, same row but for the message."""
    lines = [*texts, *["filler"] * MAX_LAST_ROWS]
    rows = [decode_line(LogRow, line) for line in write(lines).lines]
    assert [row.message for row in rows] == lines
    assert len({row._replace(message="", context=None) for row in rows}) == 1
    assert rows[0]._replace(timestamp=0, message="") == LogRow(
        "e", "j", "run", 0, "INFO", 9, "stdout", "", {"stream": "stdout"}, None, None, None, None, None
    )


def test_of_many_lines_only_the_last_cost_a_row():
    """The rest of them shares all but the message, so that a command that prints fast is not held up."""
    assert write([str(number) for number in range(5000)]).row_count == MAX_LAST_ROWS
